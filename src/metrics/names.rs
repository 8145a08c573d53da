//! Every metric this program can publish: name, type and help, in one table.
//!
//! The order of the table is the order of the exposition, so it is kept sorted by name; a test
//! watches that, and another compares the table with METRICS.md.

use std::fmt;

/// A metric of the table, two bytes wide; its facts are looked up there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric(u16);

/// The facts of one metric.
#[derive(Debug)]
pub struct Facts {
    /// Full name, for counters including `_total`.
    pub name: &'static str,
    /// Exposition type.
    pub kind: Kind,
    /// One sentence; contains neither newline, quote nor backslash, so no format escapes it.
    pub help: &'static str,
    /// The `# HELP` and `# TYPE` lines of the text format.
    pub header: &'static str,
}

/// Exposition type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only goes up; its name ends in `_total`.
    Counter,
    /// Cumulative buckets, sum and count.
    Histogram,
}

impl Metric {
    /// The facts of this metric.
    #[inline]
    pub fn facts(self) -> &'static Facts {
        &TABLE[usize::from(self.0)]
    }

    /// Full name of this metric.
    pub fn name(self) -> &'static str {
        self.facts().name
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $type:literal $name:literal $help:literal;)+) => {
        #[expect(non_camel_case_types, reason = "numbers the constants below")]
        #[repr(u16)]
        enum Index { $($id),+ }

        $(#[doc = $help] pub const $id: Metric = Metric(Index::$id as u16);)+

        /// All metrics, sorted by name.
        pub static TABLE: &[Facts] = &[$(Facts {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            header: concat!("# HELP ", $name, " ", $help, "\n# TYPE ", $name, " ", $type, "\n"),
        }),+];
    };
}

metrics! {
    BLACKBOX_EXPORTER_BUILD_INFO = Gauge "gauge" "blackbox_exporter_build_info" "Always 1; labelled with the version and the platform of this build.";
    BLACKBOX_EXPORTER_CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS = Gauge "gauge" "blackbox_exporter_config_last_reload_success_timestamp_seconds" "Unix time of the last successful load of the configuration.";
    BLACKBOX_EXPORTER_CONFIG_LAST_RELOAD_SUCCESSFUL = Gauge "gauge" "blackbox_exporter_config_last_reload_successful" "Whether the last attempt to load the configuration succeeded.";
    BLACKBOX_MODULE_UNKNOWN_TOTAL = Counter "counter" "blackbox_module_unknown_total" "Probe requests that named a module which does not exist.";
    HEARTBEAT_ADAPTIVE_TIMEOUT_SECONDS = Gauge "gauge" "heartbeat_adaptive_timeout_seconds" "Silence at which phi reaches its threshold, in seconds; only with an adaptive timeout that has learnt enough.";
    HEARTBEAT_BLIND_SECONDS_TOTAL = Counter "counter" "heartbeat_blind_seconds_total" "Seconds in which this receiver could not see signals, by cause; deadlines of that time are extended.";
    HEARTBEAT_CLOCK_JUMPS_TOTAL = Counter "counter" "heartbeat_clock_jumps_total" "How often the clock of this receiver was set, by direction.";
    HEARTBEAT_CREATED_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_created_timestamp_seconds" "Unix time at which the heartbeat was configured or made.";
    HEARTBEAT_DATA_ALERT = Gauge "gauge" "heartbeat_data_alert" "Whether the last check-in carried data and that counts as a failure.";
    HEARTBEAT_DEADLINE_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_deadline_timestamp_seconds" "Unix time at which silence becomes a failure, grace and credit for blind time included; stays while the silence lasts.";
    HEARTBEAT_DOWN_REASON = Gauge "gauge" "heartbeat_down_reason" "Always 1; labelled with the reason of the current down episode and what its follow-up probe says, absent when not down.";
    HEARTBEAT_EARLY_PINGS_TOTAL = Counter "counter" "heartbeat_early_pings_total" "Signals that came before their slot and did not count for it.";
    HEARTBEAT_EVALUATOR_LAG_SECONDS = Gauge "gauge" "heartbeat_evaluator_lag_seconds" "How late the deadlines that passed last were noticed, in seconds.";
    HEARTBEAT_EXPECTED_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_expected_timestamp_seconds" "Unix time at which the next signal is expected; absent when none is.";
    HEARTBEAT_EXPORTER_CONFIG_WARNINGS = Gauge "gauge" "heartbeat_exporter_config_warnings" "Warnings about the running configuration.";
    HEARTBEAT_EXPORTER_ICMP_DROPPED_TOTAL = Counter "counter" "heartbeat_exporter_icmp_dropped_total" "ICMP packets that the kernel dropped because a receive buffer was full.";
    HEARTBEAT_EXPORTER_ICMP_UNMATCHED_TOTAL = Counter "counter" "heartbeat_exporter_icmp_unmatched_total" "ICMP packets received that answer no running probe.";
    HEARTBEAT_EXPORTER_OPEN_SOCKETS = Gauge "gauge" "heartbeat_exporter_open_sockets" "Sockets this process has open: of probes, of clients, and those it listens on.";
    HEARTBEAT_EXPORTER_PROBE_DURATION_SECONDS = Histogram "histogram" "heartbeat_exporter_probe_duration_seconds" "Duration of probes by module.";
    HEARTBEAT_EXPORTER_PROBES_IN_FLIGHT = Gauge "gauge" "heartbeat_exporter_probes_in_flight" "Probes that are running now.";
    HEARTBEAT_EXPORTER_PROBES_TOTAL = Counter "counter" "heartbeat_exporter_probes_total" "Completed probes by module and result.";
    HEARTBEAT_EXPORTER_SCHEDULING_DELAY_SECONDS = Gauge "gauge" "heartbeat_exporter_scheduling_delay_seconds" "How late a timer of this process fires, in seconds; when it is high, latencies measured here are too.";
    HEARTBEAT_FALSE_ALARMS_TOTAL = Counter "counter" "heartbeat_false_alarms_total" "Down episodes that turned out to be wrong.";
    HEARTBEAT_GRACE_SECONDS = Gauge "gauge" "heartbeat_grace_seconds" "Configured grace in seconds.";
    HEARTBEAT_HEARTBEATS = Gauge "gauge" "heartbeat_heartbeats" "Heartbeats by state.";
    HEARTBEAT_INFO = Gauge "gauge" "heartbeat_info" "Always 1; labelled with what is configured: kind and text of the schedule, zone, labels, and tags as tag_NAME.";
    HEARTBEAT_INTERVAL_SECONDS = Gauge "gauge" "heartbeat_interval_seconds" "Configured period in seconds; only schedules of the kind every have one.";
    HEARTBEAT_LAST_EXIT_CODE = Gauge "gauge" "heartbeat_last_exit_code" "Exit status of the last finished run that told one.";
    HEARTBEAT_LAST_PING_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_last_ping_timestamp_seconds" "Unix time at which the last signal of this kind was received, by the clock of the receiver.";
    HEARTBEAT_LAST_RUN_DURATION_SECONDS = Gauge "gauge" "heartbeat_last_run_duration_seconds" "Seconds the last run took, as its sender measured or from its start.";
    HEARTBEAT_LATENESS_SECONDS = Histogram "histogram" "heartbeat_lateness_seconds" "Seconds between the slot and the signal that ended a run; early ones count as 0. Absent before the second signal.";
    HEARTBEAT_MISSED_TOTAL = Counter "counter" "heartbeat_missed_total" "Slots of the schedule whose deadline passed in silence.";
    HEARTBEAT_MISTAKE_SECONDS_TOTAL = Counter "counter" "heartbeat_mistake_seconds_total" "Seconds of the down episodes that turned out to be wrong.";
    HEARTBEAT_PAYLOAD_VALUE = Gauge "gauge" "heartbeat_payload_value" "Numbers of the last signal that are allowed by the configuration; absent while down.";
    HEARTBEAT_PHI = Gauge "gauge" "heartbeat_phi" "How sure it is that no signal comes any more: -log10 of the probability that one still does.";
    HEARTBEAT_PINGS_TOTAL = Counter "counter" "heartbeat_pings_total" "Accepted signals by kind; ignored are second deliveries.";
    HEARTBEAT_PROBABLE_TZ_MISMATCH_SECONDS = Gauge "gauge" "heartbeat_probable_tz_mismatch_seconds" "By how much three signals in a row were off, if it is the same number of whole hours: the zone of the schedule is probably not that of the job.";
    HEARTBEAT_PROGRESS_UNCHANGED_RUNS = Gauge "gauge" "heartbeat_progress_unchanged_runs" "Successful runs in a row with the same progress token.";
    HEARTBEAT_RECEIVER_REJECTED_TOTAL = Counter "counter" "heartbeat_receiver_rejected_total" "Signals that were not taken, by reason.";
    HEARTBEAT_RECEIVER_REQUEST_DURATION_SECONDS = Histogram "histogram" "heartbeat_receiver_request_duration_seconds" "Time to answer a request with signals, in seconds.";
    HEARTBEAT_RECEIVER_REQUESTS_TOTAL = Counter "counter" "heartbeat_receiver_requests_total" "Answered requests by contract and HTTP status code.";
    HEARTBEAT_RECEIVER_TIME_SECONDS = Gauge "gauge" "heartbeat_receiver_time_seconds" "The clock of this receiver at the time of the scrape, as unix time.";
    HEARTBEAT_REGISTRY_CONNECTED = Gauge "gauge" "heartbeat_registry_connected" "Whether the store of heartbeats works: its last write did not fail, and with etcd the watch and the lease of this receiver are alive.";
    HEARTBEAT_REORDERED_PINGS_TOTAL = Counter "counter" "heartbeat_reordered_pings_total" "Signals that are older than one received before.";
    HEARTBEAT_REPLICA_LAG_SECONDS = Gauge "gauge" "heartbeat_replica_lag_seconds" "Seconds since the last word of another receiver came through the shared store; each writes one every 5 seconds.";
    HEARTBEAT_RESTARTS_TOTAL = Counter "counter" "heartbeat_restarts_total" "New incarnations of the sender.";
    HEARTBEAT_RUN_DEADLINE_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_run_deadline_timestamp_seconds" "Unix time at which the oldest run in progress takes too long; absent when none is.";
    HEARTBEAT_RUN_DURATION_SECONDS = Histogram "histogram" "heartbeat_run_duration_seconds" "Seconds that runs took, as their sender measured or from their start. Absent before the first.";
    HEARTBEAT_RUNS_IN_PROGRESS = Gauge "gauge" "heartbeat_runs_in_progress" "Runs that have started and not finished.";
    HEARTBEAT_SEQUENCE_GAPS_TOTAL = Counter "counter" "heartbeat_sequence_gaps_total" "Sequence numbers that never came.";
    HEARTBEAT_SETTLING = Gauge "gauge" "heartbeat_settling" "Whether heartbeats still have credit because this receiver could not see for a while.";
    HEARTBEAT_STATE = Gauge "gauge" "heartbeat_state" "Whether this is the state of the heartbeat.";
    HEARTBEAT_STATE_CHANGE_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_state_change_timestamp_seconds" "Unix time of the last change of the state.";
    HEARTBEAT_STATE_CHANGES_TOTAL = Counter "counter" "heartbeat_state_changes_total" "Changes of the state by the new one.";
    HEARTBEAT_STORE_APPEND_DURATION_SECONDS = Histogram "histogram" "heartbeat_store_append_duration_seconds" "Time from a check-in or change until it was durable, in seconds.";
    HEARTBEAT_STORE_ERRORS_TOTAL = Counter "counter" "heartbeat_store_errors_total" "Failures of the heartbeat store by operation.";
    HEARTBEAT_STORE_LAST_SYNC_TIMESTAMP_SECONDS = Gauge "gauge" "heartbeat_store_last_sync_timestamp_seconds" "Unix time at which the heartbeat store last made something durable, 0 if it never has.";
    HEARTBEAT_STORE_RECOVERED_PINGS = Gauge "gauge" "heartbeat_store_recovered_pings" "Heartbeats whose record was read from the store at start.";
    HEARTBEAT_STORE_UNSYNCED_PINGS = Gauge "gauge" "heartbeat_store_unsynced_pings" "Check-ins and changes that wait to be durable; none of them has been acknowledged.";
    HEARTBEAT_SUSPICION_PROBE_SUCCESS = Gauge "gauge" "heartbeat_suspicion_probe_success" "Result of the follow-up probe of the current down episode; absent when there was none.";
    HEARTBEAT_SUSPICIONS_TOTAL = Counter "counter" "heartbeat_suspicions_total" "Follow-up probes after a miss: confirmed when the probe fails too, refuted when it succeeds.";
    HEARTBEAT_TRANSIT_SECONDS = Histogram "histogram" "heartbeat_transit_seconds" "Seconds from the time the sender gives to the receipt of its signal, so its clock and ours differ in it; what lies in the future counts as 0. Absent before the first.";
    HEARTBEAT_UNDETECTED_RESTARTS_TOTAL = Counter "counter" "heartbeat_undetected_restarts_total" "New incarnations that no down episode announced.";
    HEARTBEAT_UP = Gauge "gauge" "heartbeat_up" "1 if the heartbeat is on time or within its grace, 0 if it is down; absent while new or paused.";
    NET_CONNTRACK_DIALER_CONN_ATTEMPTED_TOTAL = Counter "counter" "net_conntrack_dialer_conn_attempted_total" "Connections that probers tried to open.";
    NET_CONNTRACK_DIALER_CONN_CLOSED_TOTAL = Counter "counter" "net_conntrack_dialer_conn_closed_total" "Connections of probers that were closed again.";
    NET_CONNTRACK_DIALER_CONN_ESTABLISHED_TOTAL = Counter "counter" "net_conntrack_dialer_conn_established_total" "Connections that probers opened.";
    NET_CONNTRACK_DIALER_CONN_FAILED_TOTAL = Counter "counter" "net_conntrack_dialer_conn_failed_total" "Connections of probers that failed to open, by reason.";
    PROBE_DNS_ADDITIONAL_RRS = Gauge "gauge" "probe_dns_additional_rrs" "Number of records in the additional section of the answer.";
    PROBE_DNS_ANSWER_RRS = Gauge "gauge" "probe_dns_answer_rrs" "Number of records in the answer section.";
    PROBE_DNS_AUTHORITY_RRS = Gauge "gauge" "probe_dns_authority_rrs" "Number of records in the authority section of the answer.";
    PROBE_DNS_DURATION_SECONDS = Gauge "gauge" "probe_dns_duration_seconds" "Duration of the DNS query by phase.";
    PROBE_DNS_LOOKUP_TIME_SECONDS = Gauge "gauge" "probe_dns_lookup_time_seconds" "Time taken to choose the target's address, in seconds.";
    PROBE_DNS_QUERY_SUCCEEDED = Gauge "gauge" "probe_dns_query_succeeded" "Whether a DNS answer was received and could be parsed, whatever its code.";
    PROBE_DNS_SERIAL = Gauge "gauge" "probe_dns_serial" "Serial number of the zone, for SOA queries.";
    PROBE_DURATION_SECONDS = Gauge "gauge" "probe_duration_seconds" "Duration of the probe in seconds.";
    PROBE_EXPECT_INFO = Gauge "gauge" "probe_expect_info" "Values taken from the answer of the peer, as the module's labels say.";
    PROBE_FAILED_DUE_TO_BYTES = Gauge "gauge" "probe_failed_due_to_bytes" "Whether the probe failed because expected bytes did not arrive.";
    PROBE_FAILED_DUE_TO_CEL = Gauge "gauge" "probe_failed_due_to_cel" "Whether the probe failed because of a CEL expression on the body.";
    PROBE_FAILED_DUE_TO_REGEX = Gauge "gauge" "probe_failed_due_to_regex" "Whether the probe failed because of a regular expression.";
    PROBE_FAILED_STEP = Gauge "gauge" "probe_failed_step" "Number of the step of query_response that failed, the first being 1; absent when none did.";
    PROBE_FAILURE_INFO = Gauge "gauge" "probe_failure_info" "Why the probe failed: the phase it was in and the reason; absent when it succeeded.";
    PROBE_GRPC_DURATION_SECONDS = Gauge "gauge" "probe_grpc_duration_seconds" "Duration of the gRPC health check by phase.";
    PROBE_GRPC_HEALTHCHECK_RESPONSE = Gauge "gauge" "probe_grpc_healthcheck_response" "Whether this is the serving status that the health check returned.";
    PROBE_GRPC_SSL = Gauge "gauge" "probe_grpc_ssl" "Whether the connection uses TLS; 1 once the handshake is done.";
    PROBE_GRPC_STATUS_CODE = Gauge "gauge" "probe_grpc_status_code" "gRPC status code of the health check, 0 if it was OK or there was none.";
    PROBE_HTTP_CONTENT_LENGTH = Gauge "gauge" "probe_http_content_length" "Length of the body as announced by the response, -1 if it announces none.";
    PROBE_HTTP_DURATION_SECONDS = Gauge "gauge" "probe_http_duration_seconds" "Duration of the HTTP request by phase, summed over all redirects.";
    PROBE_HTTP_LAST_MODIFIED_TIMESTAMP_SECONDS = Gauge "gauge" "probe_http_last_modified_timestamp_seconds" "Last-Modified header of the response as unix time.";
    PROBE_HTTP_REDIRECTS = Gauge "gauge" "probe_http_redirects" "Number of redirects received.";
    PROBE_HTTP_SSL = Gauge "gauge" "probe_http_ssl" "Whether the final response came over TLS.";
    PROBE_HTTP_STATUS_CODE = Gauge "gauge" "probe_http_status_code" "Status code of the final response, 0 if there was none.";
    PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH = Gauge "gauge" "probe_http_uncompressed_body_length" "Bytes of body read, after decompression.";
    PROBE_HTTP_VERSION = Gauge "gauge" "probe_http_version" "HTTP version of the final response, 0 if there was none.";
    PROBE_ICMP_DURATION_SECONDS = Gauge "gauge" "probe_icmp_duration_seconds" "Duration of the ICMP request by phase.";
    PROBE_ICMP_REPLY_HOP_LIMIT = Gauge "gauge" "probe_icmp_reply_hop_limit" "Hop limit (TTL) of the echo reply.";
    PROBE_IP_ADDR_HASH = Gauge "gauge" "probe_ip_addr_hash" "FNV-1a hash of the address that was probed; changes when the address does.";
    PROBE_IP_PROTOCOL = Gauge "gauge" "probe_ip_protocol" "Version of the IP protocol that was used, 4 or 6, 0 if no address was found.";
    PROBE_SSL_EARLIEST_CERT_EXPIRY = Gauge "gauge" "probe_ssl_earliest_cert_expiry" "Earliest expiry among all certificates the peer presented, as unix time.";
    PROBE_SSL_LAST_CHAIN_EXPIRY_TIMESTAMP_SECONDS = Gauge "gauge" "probe_ssl_last_chain_expiry_timestamp_seconds" "Expiry of the verified chain that lasts longest, as unix time.";
    PROBE_SSL_LAST_CHAIN_INFO = Gauge "gauge" "probe_ssl_last_chain_info" "Facts about the leaf certificate the peer presented.";
    PROBE_SSL_LEAF_NOT_AFTER_TIMESTAMP_SECONDS = Gauge "gauge" "probe_ssl_leaf_not_after_timestamp_seconds" "End of validity of the leaf certificate, as unix time.";
    PROBE_SSL_LEAF_NOT_BEFORE_TIMESTAMP_SECONDS = Gauge "gauge" "probe_ssl_leaf_not_before_timestamp_seconds" "Begin of validity of the leaf certificate, as unix time.";
    PROBE_SUCCESS = Gauge "gauge" "probe_success" "Whether the probe succeeded.";
    PROBE_TCP_DURATION_SECONDS = Gauge "gauge" "probe_tcp_duration_seconds" "Duration of the TCP probe by phase.";
    PROBE_TCP_RTT_SECONDS = Gauge "gauge" "probe_tcp_rtt_seconds" "Round trip time that the kernel measured while connecting over TCP, in seconds.";
    PROBE_TIMEOUT_SECONDS = Gauge "gauge" "probe_timeout_seconds" "Time the probe was allowed to take, in seconds.";
    PROBE_TLS_CIPHER_INFO = Gauge "gauge" "probe_tls_cipher_info" "TLS cipher suite of the connection.";
    PROBE_TLS_VERIFIED = Gauge "gauge" "probe_tls_verified" "Whether the certificate chain of the peer verifies for the name that was asked for.";
    PROBE_TLS_VERIFY_FAILURE_INFO = Gauge "gauge" "probe_tls_verify_failure_info" "Why the certificate chain does not verify; absent when it does.";
    PROBE_TLS_VERSION_INFO = Gauge "gauge" "probe_tls_version_info" "TLS version of the connection.";
    PROBE_UNIX_DURATION_SECONDS = Gauge "gauge" "probe_unix_duration_seconds" "Duration of the probe of a Unix socket by phase.";
    PROBE_WEBSOCKET_CONNECTION_UPGRADED = Gauge "gauge" "probe_websocket_connection_upgraded" "Whether the connection was upgraded to a WebSocket.";
    PROBE_WEBSOCKET_DURATION_SECONDS = Gauge "gauge" "probe_websocket_duration_seconds" "Duration of the WebSocket probe by phase; the handshake of phase tls counts in processing, too.";
    PROBE_WEBSOCKET_FAILED_DUE_TO_REGEX = Gauge "gauge" "probe_websocket_failed_due_to_regex" "Whether the exchange of messages failed, for whatever reason.";
    PROBE_WEBSOCKET_STATUS_CODE = Gauge "gauge" "probe_websocket_status_code" "Status code of the answer to the upgrade request, 0 if there was none.";
    PROCESS_CPU_SECONDS_TOTAL = Counter "counter" "process_cpu_seconds_total" "Total user and system CPU time spent in seconds.";
    PROCESS_MAX_FDS = Gauge "gauge" "process_max_fds" "Maximum number of open file descriptors.";
    PROCESS_NETWORK_RECEIVE_BYTES_TOTAL = Counter "counter" "process_network_receive_bytes_total" "Bytes received over the network by the process's network namespace.";
    PROCESS_NETWORK_TRANSMIT_BYTES_TOTAL = Counter "counter" "process_network_transmit_bytes_total" "Bytes sent over the network by the process's network namespace.";
    PROCESS_OPEN_FDS = Gauge "gauge" "process_open_fds" "Number of open file descriptors.";
    PROCESS_RESIDENT_MEMORY_BYTES = Gauge "gauge" "process_resident_memory_bytes" "Resident memory size in bytes.";
    PROCESS_START_TIME_SECONDS = Gauge "gauge" "process_start_time_seconds" "Start time of the process as unix time.";
    PROCESS_VIRTUAL_MEMORY_BYTES = Gauge "gauge" "process_virtual_memory_bytes" "Virtual memory size in bytes.";
    PROCESS_VIRTUAL_MEMORY_MAX_BYTES = Gauge "gauge" "process_virtual_memory_max_bytes" "Maximum amount of virtual memory available in bytes, -1 if unlimited.";
    PROMHTTP_METRIC_HANDLER_REQUESTS_IN_FLIGHT = Gauge "gauge" "promhttp_metric_handler_requests_in_flight" "Scrapes of /metrics being served now.";
    PROMHTTP_METRIC_HANDLER_REQUESTS_TOTAL = Counter "counter" "promhttp_metric_handler_requests_total" "Scrapes of /metrics by status code.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_names_and_helps_are_well_formed() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        for facts in TABLE {
            assert!(
                facts.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{}",
                facts.name
            );
            assert!(!facts.help.contains(['"', '\\', '\n']), "{}", facts.name);
            assert_eq!(facts.kind == Kind::Counter, facts.name.ends_with("_total"), "{}", facts.name);
        }
    }

    #[test]
    fn a_constant_leads_to_its_own_row() {
        assert_eq!(PROBE_SUCCESS.name(), "probe_success");
        assert_eq!(PROMHTTP_METRIC_HANDLER_REQUESTS_TOTAL.name(), "promhttp_metric_handler_requests_total");
    }
}
