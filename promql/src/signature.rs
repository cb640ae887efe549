//! The functions of the language: names and types of what they take and give.

use crate::ast::ValueType;

/// What the parser knows of a function. The engine keeps the code in its own table, by the same name.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    pub name: &'static str,
    pub args: &'static [ValueType],
    /// 0: exactly `args`. n > 0: from one less than `args` up to n more than that. -1: from one less than `args`, no upper bound.
    /// Whatever stands beyond `args` has the type of their last (Prometheus' `Variadic`).
    pub variadic: i8,
    pub returns: ValueType,
    /// Refused unless experimental functions are switched on.
    pub experimental: bool,
}

impl Signature {
    pub fn args_min(&self) -> usize {
        if self.variadic == 0 { self.args.len() } else { self.args.len() - 1 }
    }

    /// `None`: any number.
    pub fn args_max(&self) -> Option<usize> {
        match usize::try_from(self.variadic) {
            Ok(0) => Some(self.args.len()),
            Ok(more) => Some(self.args.len() - 1 + more),
            Err(_) => None,
        }
    }

    /// The type of the argument at a position within the bounds above.
    pub fn arg(&self, index: usize) -> Option<ValueType> {
        self.args.get(index).or(self.args.last()).copied()
    }
}

/// The function of a name. Names are case-sensitive.
pub fn lookup(name: &str) -> Option<&'static Signature> {
    TABLE.binary_search_by(|signature| signature.name.cmp(name)).ok().map(|at| &TABLE[at])
}

/// All functions, by name.
pub fn all() -> &'static [Signature] {
    TABLE
}

const fn stable(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Signature {
    Signature { name, args, variadic: 0, returns, experimental: false }
}

const fn experimental(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Signature {
    Signature { name, args, variadic: 0, returns, experimental: true }
}

impl Signature {
    const fn variadic(self, variadic: i8) -> Self {
        Self { variadic, ..self }
    }
}

use ValueType::{Matrix, Scalar, String, Vector};

/// Sorted by name, for the binary search.
const TABLE: &[Signature] = &[
    stable("abs", &[Vector], Vector),
    stable("absent", &[Vector], Vector),
    stable("absent_over_time", &[Matrix], Vector),
    stable("acos", &[Vector], Vector),
    stable("acosh", &[Vector], Vector),
    stable("asin", &[Vector], Vector),
    stable("asinh", &[Vector], Vector),
    stable("atan", &[Vector], Vector),
    stable("atanh", &[Vector], Vector),
    stable("avg_over_time", &[Matrix], Vector),
    stable("ceil", &[Vector], Vector),
    stable("changes", &[Matrix], Vector),
    stable("clamp", &[Vector, Scalar, Scalar], Vector),
    stable("clamp_max", &[Vector, Scalar], Vector),
    stable("clamp_min", &[Vector, Scalar], Vector),
    stable("cos", &[Vector], Vector),
    stable("cosh", &[Vector], Vector),
    stable("count_over_time", &[Matrix], Vector),
    stable("day_of_month", &[Vector], Vector).variadic(1),
    stable("day_of_week", &[Vector], Vector).variadic(1),
    stable("day_of_year", &[Vector], Vector).variadic(1),
    stable("days_in_month", &[Vector], Vector).variadic(1),
    stable("deg", &[Vector], Vector),
    stable("delta", &[Matrix], Vector),
    stable("deriv", &[Matrix], Vector),
    experimental("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector),
    experimental("end", &[], Scalar),
    stable("exp", &[Vector], Vector),
    stable("first_over_time", &[Matrix], Vector),
    stable("floor", &[Vector], Vector),
    stable("histogram_avg", &[Vector], Vector),
    stable("histogram_count", &[Vector], Vector),
    stable("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    stable("histogram_quantile", &[Scalar, Vector], Vector),
    experimental("histogram_quantiles", &[Vector, String, Scalar, Scalar], Vector).variadic(9),
    stable("histogram_stddev", &[Vector], Vector),
    stable("histogram_stdvar", &[Vector], Vector),
    stable("histogram_sum", &[Vector], Vector),
    stable("hour", &[Vector], Vector).variadic(1),
    stable("idelta", &[Matrix], Vector),
    stable("increase", &[Matrix], Vector),
    experimental("info", &[Vector, Vector], Vector).variadic(1),
    stable("irate", &[Matrix], Vector),
    stable("label_join", &[Vector, String, String, String], Vector).variadic(-1),
    stable("label_replace", &[Vector, String, String, String, String], Vector),
    stable("last_over_time", &[Matrix], Vector),
    stable("ln", &[Vector], Vector),
    stable("log10", &[Vector], Vector),
    stable("log2", &[Vector], Vector),
    experimental("mad_over_time", &[Matrix], Vector),
    experimental("max_of", &[Scalar, Scalar], Scalar),
    stable("max_over_time", &[Matrix], Vector),
    experimental("min_of", &[Scalar, Scalar], Scalar),
    stable("min_over_time", &[Matrix], Vector),
    stable("minute", &[Vector], Vector).variadic(1),
    stable("month", &[Vector], Vector).variadic(1),
    stable("pi", &[], Scalar),
    stable("predict_linear", &[Matrix, Scalar], Vector),
    stable("present_over_time", &[Matrix], Vector),
    stable("quantile_over_time", &[Scalar, Matrix], Vector),
    stable("rad", &[Vector], Vector),
    experimental("range", &[], Scalar),
    stable("rate", &[Matrix], Vector),
    stable("resets", &[Matrix], Vector),
    stable("round", &[Vector, Scalar], Vector).variadic(1),
    stable("scalar", &[Vector], Scalar),
    stable("sgn", &[Vector], Vector),
    stable("sin", &[Vector], Vector),
    stable("sinh", &[Vector], Vector),
    stable("sort", &[Vector], Vector),
    experimental("sort_by_label", &[Vector, String], Vector).variadic(-1),
    experimental("sort_by_label_desc", &[Vector, String], Vector).variadic(-1),
    stable("sort_desc", &[Vector], Vector),
    stable("sqrt", &[Vector], Vector),
    experimental("start", &[], Scalar),
    experimental("start_timestamp", &[Vector], Vector),
    stable("stddev_over_time", &[Matrix], Vector),
    stable("stdvar_over_time", &[Matrix], Vector),
    experimental("step", &[], Scalar),
    stable("sum_over_time", &[Matrix], Vector),
    stable("tan", &[Vector], Vector),
    stable("tanh", &[Vector], Vector),
    stable("time", &[], Scalar),
    stable("timestamp", &[Vector], Vector),
    experimental("ts_of_first_over_time", &[Matrix], Vector),
    experimental("ts_of_last_over_time", &[Matrix], Vector),
    experimental("ts_of_max_over_time", &[Matrix], Vector),
    experimental("ts_of_min_over_time", &[Matrix], Vector),
    stable("vector", &[Scalar], Vector),
    stable("year", &[Vector], Vector).variadic(1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_name_is_found() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for signature in all() {
            assert_eq!(lookup(signature.name), Some(signature));
        }
        assert_eq!(lookup("Rate"), None);
    }

    #[test]
    fn argument_counts_follow_the_variadic_number() {
        let bounds = |name: &str| lookup(name).map(|signature| (signature.args_min(), signature.args_max()));
        assert_eq!(bounds("rate"), Some((1, Some(1))));
        assert_eq!(bounds("pi"), Some((0, Some(0))));
        assert_eq!(bounds("hour"), Some((0, Some(1))));
        assert_eq!(bounds("round"), Some((1, Some(2))));
        assert_eq!(bounds("histogram_quantiles"), Some((3, Some(12))));
        assert_eq!(bounds("label_join"), Some((3, None)));
    }
}
