//! What of a reading is more than it may be.

use super::node::Reading;
use crate::client::flags::AgentFlags;

/// One entry for each limit that is passed, such as `cpu:93`, `disk:/var:97` or `process:nginx`.
///
/// With the address of the node in front and commas between them, scripts that were made for the reports of
/// other agents can read it.
pub fn beyond(flags: &AgentFlags, reading: &Reading) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |name: &str, ratio: Option<f64>, limit: Option<f64>| {
        if let (Some(percent), Some(limit)) = (ratio.map(|ratio| ratio * 100.0), limit)
            && percent > limit
        {
            found.push(format!("{name}:{percent:.0}"));
        }
    };
    check("cpu", reading.cpu_ratio, flags.max_cpu);
    check("mem", reading.memory_ratio, flags.max_memory);
    for (mount, ratio) in &reading.disk_ratios {
        check(&format!("disk:{mount}"), Some(*ratio), flags.max_disk);
    }
    found.extend(reading.missing_processes.iter().map(|name| format!("process:{name}")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_beyond_its_limit_is_named() {
        let reading = Reading {
            cpu_ratio: Some(0.934),
            memory_ratio: Some(0.5),
            disk_ratios: vec![("/".to_owned(), 0.2), ("/var".to_owned(), 0.97)],
            missing_processes: vec!["nginx".to_owned()],
            ..Reading::default()
        };
        let flags = |cpu, memory, disk| AgentFlags {
            max_cpu: cpu,
            max_memory: memory,
            max_disk: disk,
            ..AgentFlags::default()
        };
        let cases = [
            (flags(None, None, None), "process:nginx"),
            (flags(Some(90.0), Some(50.0), Some(97.0)), "cpu:93,process:nginx"),
            (flags(Some(93.4), Some(49.9), Some(90.0)), "mem:50,disk:/var:97,process:nginx"),
            (flags(Some(0.0), Some(0.0), Some(0.0)), "cpu:93,mem:50,disk:/:20,disk:/var:97,process:nginx"),
        ];
        for (flags, want) in cases {
            assert_eq!(beyond(&flags, &reading).join(","), want);
        }
        assert!(beyond(&flags(Some(0.0), Some(0.0), Some(0.0)), &Reading::default()).is_empty());
    }
}
