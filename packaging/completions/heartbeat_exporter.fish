# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_heartbeat_exporter_global_optspecs
    string join \n h/help version no-version config.file= config.check no-config.check config.strict no-config.strict config.enable-auto-reload no-config.enable-auto-reload config.auto-reload-interval= timeout-offset= history.limit= log.level= log.format= log.prober= log.probe-outcomes= web.listen-address= web.systemd-socket no-web.systemd-socket web.config.file= web.external-url= web.route-prefix= web.shutdown-grace=
end

function __fish_heartbeat_exporter_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_heartbeat_exporter_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_heartbeat_exporter_using_subcommand
    set -l cmd (__fish_heartbeat_exporter_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l config.file -d 'Configuration file [default: blackbox.yml, or what is built in]' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l config.auto-reload-interval -d 'How often to look for changes of the file' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l timeout-offset -d 'Part of the scrape timeout that is kept for the way back' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l history.limit -d 'Probes, and again older failures, to remember' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l log.level -d 'Only log what is at least this important' -r -f -a "debug\t''
info\t''
warn\t''
error\t''"
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l log.format -d 'Format of log lines' -r -f -a "logfmt\t''
json\t''"
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l log.prober -d 'As log.level, for log lines of probes, or none' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l log.probe-outcomes -d 'Which outcomes of probes to log in one line' -r -f -a "none\t''
changes\t''
failures\t''
all\t''"
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l web.listen-address -d 'Address to listen on; may be given several times' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l web.config.file -d 'File with TLS and authentication of the server' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l web.external-url -d 'Where others reach this exporter' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l web.route-prefix -d 'Path of all pages [default: that of web.external-url]' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l web.shutdown-grace -d 'How long running probes may go on after SIGTERM' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -s h -l help -d 'Show this help'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l version -d 'Show the version'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l no-version
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l config.check -d 'Load the configuration file, report, then exit'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l no-config.check
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l config.strict -d 'Treat warnings about the configuration as errors'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l no-config.strict
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l config.enable-auto-reload -d 'Load the configuration file again when it changes'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l no-config.enable-auto-reload
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l web.systemd-socket -d 'Listen on sockets passed by systemd instead'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -l no-web.systemd-socket
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -f -a "probe" -d 'Probes a target once and shows where the time went, what was checked and why it failed. The status is 0 if the probe succeeded, 1 if it failed, 2 if it could not be run.'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -f -a "run" -d 'Runs a command and reports to a heartbeat how it went. The command\'s output, exit code and signals stay as they are, and it runs whether or not the receiver can be reached.'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_needs_command" -f -a "agent" -d 'Reports this node to a heartbeat: processor, memory, disks, load, processes.'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand probe" -l hostname -d 'As the parameter hostname of /probe' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand probe" -l config.file -d 'Configuration file [default: blackbox.yml, or what is built in]' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand probe" -l timeout -d 'Longest time of the probe [default: the module\'s, or 2m]' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand probe" -l json -d 'Print the report as /api/v1/probe has it'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand probe" -l logs -d 'Print the log lines of the probe, too'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand probe" -s h -l help -d 'Show this help'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l url -d 'The receiver [env: HEARTBEAT_URL] [default: http://localhost:9115]' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l token-file -d 'File with the heartbeat\'s token [env: HEARTBEAT_TOKEN, the token]' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l ca-file -d 'PEM file of certificates to trust instead of the system\'s' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l retries -d 'Further attempts when a report does not get through' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l timeout -d 'Longest time of one attempt' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l tail -d 'Report the last KiB of the command\'s output; 0 is --no-output' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l insecure -d 'Accept any certificate of the receiver'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l quiet-success -d 'Report the output only if the command fails'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -l no-output -d 'Do not look at the output at all; the command keeps the terminal'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand run" -s h -l help -d 'Show this help'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l url -d 'The receiver [env: HEARTBEAT_URL] [default: http://localhost:9115]' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l token-file -d 'File with the heartbeat\'s token [env: HEARTBEAT_TOKEN, the token]' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l ca-file -d 'PEM file of certificates to trust instead of the system\'s' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l retries -d 'Further attempts when a report does not get through' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l timeout -d 'Longest time of one attempt' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l interval -d 'Time between two reports' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l jitter -d 'Delay each report by up to this much [default: a tenth of the interval, with --once none]' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l disk -d 'Report this mount point, not all local ones; may be given several times' -r -F
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l process -d 'A process of this name must run; may be given several times' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l max-cpu -d 'More is reported as data' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l max-memory -d 'More is reported as data' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l max-disk -d 'More, on any disk, is reported as data' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l address -d 'Name of this node in such a report [default: its address]' -r
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l insecure -d 'Accept any certificate of the receiver'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -l once -d 'Report once, then end'
complete -c heartbeat_exporter -n "__fish_heartbeat_exporter_using_subcommand agent" -s h -l help -d 'Show this help'
