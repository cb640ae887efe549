//! Scraping, end to end.
