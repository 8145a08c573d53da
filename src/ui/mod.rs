//! The page for people: one document, rendered here, that needs nothing else.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::runner::history::Record;

/// The page, with a form to try a module and the remembered probes.
pub fn index<'a>(modules: impl Iterator<Item = &'a str>, records: &[Arc<Record>]) -> String {
    let mut out = HEAD.to_owned();
    for module in modules {
        let selected = if module == "http_2xx" { " selected" } else { "" };
        out.push_str("<option");
        out.push_str(selected);
        out.push('>');
        escape(&mut out, module);
        out.push_str("</option>");
    }
    out.push_str(AFTER_MODULES);
    for record in records {
        row(&mut out, record);
    }
    if records.is_empty() {
        out.push_str("<tr><td colspan=\"6\" class=\"none\">No probes yet.</td></tr>\n");
    }
    out.push_str(TAIL);
    out
}

fn row(out: &mut String, record: &Record) {
    out.push_str("<tr><td>");
    escape(out, &record.module.name);
    out.push_str("</td><td class=\"target\">");
    escape(out, &record.target);
    out.push_str("</td><td>");
    match &record.outcome.failure {
        None => out.push_str("Success</td><td></td>"),
        Some(error) => {
            // Both are words from a closed set.
            let _ = write!(
                out,
                "<strong>Failure</strong></td><td title=\"{}\">{}: {}</td>",
                error.reason.help(),
                error.phase,
                error.reason
            );
        }
    }
    let _ = writeln!(
        out,
        "<td class=\"number\">{}</td><td><a href=\"logs?id={}\">Logs</a></td></tr>",
        duration(record.outcome.duration),
        record.id
    );
}

fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis >= 1000.0 { format!("{:.2} s", millis / 1000.0) } else { format!("{millis:.1} ms") }
}

/// Text between tags or in a quoted attribute.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

const HEAD: &str = include_str!("head.html");
const AFTER_MODULES: &str = include_str!("after_modules.html");
const TAIL: &str = "</tbody></table></div>\n</main></body></html>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, LoadOptions};
    use crate::logging::Level;
    use crate::probers;
    use crate::runner::{Outcome, Phase, ProbeError, Reason, Report};

    #[test]
    fn rows_are_escaped_and_tell_why() {
        let file = config::load("modules:\n  m: {prober: tcp}\n", &LoadOptions { strict: false }).unwrap();
        let module = Arc::clone(&probers::compile_all(file)["m"]);
        let record = |id, target: &str, failure, millis| {
            let outcome = Outcome {
                report: Report::new(Level::Info),
                failure,
                duration: Duration::from_millis(millis),
            };
            let record = Record::new(Arc::clone(&module), target.to_owned(), None, outcome);
            Arc::new(Record { id, ..record })
        };
        let error = ProbeError::new(Phase::Connect, Reason::Refused, "no");
        let page = index(
            ["<m>", "http_2xx"].into_iter(),
            &[record(7, "<script>\"'&", Some(error), 1500), record(6, "ok", None, 12)],
        );
        assert!(page.contains("<option>&lt;m&gt;</option><option selected>http_2xx</option>"));
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("<tr><td>")).collect();
        assert_eq!(
            rows,
            [
                "<tr><td>m</td><td class=\"target\">&lt;script&gt;&#34;&#39;&amp;</td>\
                 <td><strong>Failure</strong></td><td title=\"the peer refused the connection\">connect: refused</td>\
                 <td class=\"number\">1.50 s</td><td><a href=\"logs?id=7\">Logs</a></td></tr>",
                "<tr><td>m</td><td class=\"target\">ok</td><td>Success</td><td></td>\
                 <td class=\"number\">12.0 ms</td><td><a href=\"logs?id=6\">Logs</a></td></tr>",
            ]
        );
        assert!(!page.contains("<script"));
        assert!(index(std::iter::empty(), &[]).contains("No probes yet."));
    }
}
