//! Templates of rules.

use super::Target;

pub const TARGETS: &[Target] = &[Target { name: "template", run: template, seeds: template_seeds }];

/// Any text is a template or has a mistake in one of its lines, and is so with as much behind it that means nothing.
pub fn template(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parse = |text: &str| templates::parse(text, &|name| name.len() < 6, &["labels", "value"]);
    let parsed = parse(text);
    match &parsed {
        // A brace would open the action itself.
        Ok(_) if text.ends_with('{') => {}
        Ok(template) => {
            let with_more = parse(&format!("{text}{{{{/* */ -}}}}\n"));
            assert_eq!(with_more.as_ref(), Ok(template), "neither a comment nor what it trims is anything");
        }
        Err(error) => assert!(error.line <= text.matches('\n').count() + 1, "{error}"),
    }
}

fn template_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "{{ $labels.instance }} is {{ $value | print 1 -2.5 'x' `raw` \"q\\n\" | len }}",
        "{{- range $i, $e := .A.B -}}{{ if eq $i 1 }}{{ break }}{{ else if . }}{{ continue }}{{ else }}x{{ end }}{{ else }}y{{ end -}}",
        "{{ define \"t\" }}{{ . }}{{ end }}{{ template \"t\" . }}{{ block `b` (print nil true).C }}{{ $x := 1 }}{{ $x = 0x1p-2 }}{{ end }}",
        "{{/* comment */}}{{ with $labels }}{{ 1+2i }}{{ else with . }}{{ end }}",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
