# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rmq_global_optspecs
    string join \n n/namesrv= o/output= json h/help V/version
end

function __fish_rmq_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rmq_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rmq_using_subcommand
    set -l cmd (__fish_rmq_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rmq -n "__fish_rmq_needs_command" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_needs_command" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_needs_command" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_needs_command" -s V -l version -d 'Print version'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "dev" -d 'Run name server and broker on this machine, for trying and developing'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "send" -d 'Send messages'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "consume" -d 'Print messages, or run a command on each'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "topic" -d 'List, show, create, change and delete topics'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "group" -d 'List, show, move and delete consumer groups'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "msg" -d 'Find and show messages'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "broker" -d 'Run a broker, or ask one'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "namesrv" -d 'Run a name server'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "completion" -d 'Print the completion script of a shell'
complete -c rmq -n "__fish_rmq_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand dev" -l store -d 'Keep the store in this folder' -r -F
complete -c rmq -n "__fish_rmq_using_subcommand dev" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand dev" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand dev" -l once -d 'End after the first message was consumed; always on free ports'
complete -c rmq -n "__fish_rmq_using_subcommand dev" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand dev" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand send" -s t -l tag -d 'Tag of every message' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -s k -l key -d 'Key to find the message by; may be given several times' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -s H -l header -d 'Property of every message; may be given several times' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -l queue -d 'Queue to send to, as ID or BROKER:ID, instead of one after the other' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -l count -d 'Send BODY this many times; with --lines or --jsonl, stop after this many messages' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -l rate -d 'Messages a second, at most' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -l size -d 'Send made-up bodies of this many bytes (`100`, `4k`, `1m`) instead of BODY' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -l group -d 'Producer group to send as' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand send" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand send" -l lines -d 'Each line is a message. Bytes are kept; blank lines are skipped and counted'
complete -c rmq -n "__fish_rmq_using_subcommand send" -l jsonl -d 'Each line describes a message as `rmq consume --jsonl` prints it; its place, ids and times are ignored'
complete -c rmq -n "__fish_rmq_using_subcommand send" -l oneway -d 'Do not wait for acknowledgements: nobody will know what arrived'
complete -c rmq -n "__fish_rmq_using_subcommand send" -l async -d 'Have many sends under way at once. Faster, and the order of messages is not kept'
complete -c rmq -n "__fish_rmq_using_subcommand send" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand consume" -s g -l group -d 'Consume as a member of this group: its members share the messages, and its offsets are committed' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -s t -l tag -d 'Only messages with this tag, or one of these: `A || B`' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l from -d 'Where to begin; in a group, only queues without a committed offset [default: first, with --broadcast last]' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l to -d 'End behind what was stored at this time' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -s n -l count -d 'End after this many messages' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l idle -d 'End when nothing came for so long (`5s`)' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -s f -l format -d 'Print each message like this, instead of its body and a newline' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l exec -d 'Run this with `sh -c`, the body on stdin and RMQ_TOPIC, RMQ_QUEUE, RMQ_OFFSET, RMQ_KEYS, RMQ_TAG and RMQ_MSG_ID set; one at a time a queue' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l namesrv -d 'Name servers, separated by `;` or `,`. No -n here: that is the count' -r
complete -c rmq -n "__fish_rmq_using_subcommand consume" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l broadcast -d 'Every member gets every message; offsets are kept in a file of this user, beginning at the latest message'
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l until-end -d 'End when everything that is there now was consumed'
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l jsonl -d 'Print each message as a JSON object on a line of its own, as `rmq send --jsonl` reads it'
complete -c rmq -n "__fish_rmq_using_subcommand consume" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand consume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "ls" -d 'List topics'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "show" -d 'Show a topic: its settings at each broker, its queues, and who consumes it'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "route" -d 'Show what name servers tell clients: which brokers hold a topic, where, with how many queues'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "create" -d 'Create a topic on every master of a cluster'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "set" -d 'Change settings of a topic. What is not named stays as it is, at each broker by itself'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "delete" -d 'Delete a topic with its messages and the offsets of its groups'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and not __fish_seen_subcommand_from ls show route create set delete help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from ls" -l cluster -d 'Only topics of this cluster' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from ls" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from ls" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from ls" -l system -d 'Also retry and dead letter topics, and those that brokers use themselves'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from ls" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from show" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from show" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from show" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from route" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from route" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from route" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from route" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -s q -l queues -d 'Queues on each broker' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -l perm -d 'What it allows: r, w, rw or none' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -l type -d 'Kind of messages it takes' -r -f -a "normal\t''
fifo\t''
delay\t''
transaction\t''
mixed\t''"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -l cluster -d 'The cluster, where several share the name server' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -l broker -d 'Only on this broker' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -s q -l queues -d 'Queues on each broker, for reading and writing' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -l read-queues -d 'Queues that may be read on each broker' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -l write-queues -d 'Queues that may be written on each broker' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -l perm -d 'What it allows: r, w, rw or none' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -l type -d 'Kind of messages it takes' -r -f -a "normal\t''
fifo\t''
delay\t''
transaction\t''
mixed\t''"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -l cluster -d 'Only on brokers of this cluster' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -l cluster -d 'Only in this cluster' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -s y -l yes -d 'Do it without asking'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -l dry-run -d 'Show what would be done, and do nothing'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List topics'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a topic: its settings at each broker, its queues, and who consumes it'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "route" -d 'Show what name servers tell clients: which brokers hold a topic, where, with how many queues'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "create" -d 'Create a topic on every master of a cluster'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "set" -d 'Change settings of a topic. What is not named stays as it is, at each broker by itself'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "delete" -d 'Delete a topic with its messages and the offsets of its groups'
complete -c rmq -n "__fish_rmq_using_subcommand topic; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -f -a "ls" -d 'List consumer groups'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -f -a "show" -d 'Show a group: its settings at each broker, its members, and what they subscribe to'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -f -a "lag" -d 'Show how far a group is behind, queue by queue; without GROUP, all groups'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -f -a "reset" -d 'Move a group in a topic: each queue gets a new offset, running members go on from there'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -f -a "delete" -d 'Delete a group at every broker that knows it. Its retry and dead letter topics stay'
complete -c rmq -n "__fish_rmq_using_subcommand group; and not __fish_seen_subcommand_from ls show lag reset delete help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from ls" -l cluster -d 'Only groups of this cluster' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from ls" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from ls" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from ls" -l system -d 'Also those that brokers and tools use themselves'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from ls" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from show" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from show" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from show" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from lag" -s t -l topic -d 'Only in this topic' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from lag" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from lag" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from lag" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from lag" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -s t -l topic -d 'The topic to move in' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -l to -d 'Where to: first, last, a time ago (-10m), a time (2026-11-22T10:00, @EPOCHMS), or a queue offset' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -l queue -d 'Only this queue, as ID or BROKER:ID' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -l cluster -d 'Only in this cluster' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -s y -l yes -d 'Do it without asking'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -l dry-run -d 'Show what would be done, and do nothing'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -l cluster -d 'Only in this cluster' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -l offsets -d 'Its offsets too: a group of the same name then begins anew'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -s y -l yes -d 'Do it without asking'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -l dry-run -d 'Show what would be done, and do nothing'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List consumer groups'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a group: its settings at each broker, its members, and what they subscribe to'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from help" -f -a "lag" -d 'Show how far a group is behind, queue by queue; without GROUP, all groups'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from help" -f -a "reset" -d 'Move a group in a topic: each queue gets a new offset, running members go on from there'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from help" -f -a "delete" -d 'Delete a group at every broker that knows it. Its retry and dead letter topics stay'
complete -c rmq -n "__fish_rmq_using_subcommand group; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -f -a "find" -d 'Find messages by the key their producer gave them'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -f -a "show" -d 'Show a message by any of its ids, or by its place'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and not __fish_seen_subcommand_from find show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -s k -l key -d 'The key' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -l from -d 'Stored at this time or later: a time ago (-10m), a time (2026-11-22T10:00, @EPOCHMS)' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -l to -d 'Stored at this time or before' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -l max -d 'At most so many from each broker' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from find" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from show" -s t -l topic -d 'The topic to look in; without it, all are searched for a producer\'s id' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from show" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from show" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from show" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from help" -f -a "find" -d 'Find messages by the key their producer gave them'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a message by any of its ids, or by its place'
complete -c rmq -n "__fish_rmq_using_subcommand msg; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -f -a "start" -d 'Run a broker until Ctrl-C or SIGTERM'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -f -a "stop" -d 'Stop the broker of a store on this machine: it finishes what it has begun, and leaves a store that needs no recovery'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -f -a "show" -d 'List brokers, or show everything one says of itself'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -f -a "config" -d 'Show the configuration of a running broker, or change it'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and not __fish_seen_subcommand_from start stop show config help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -s c -l config -d 'Configuration: `.toml`, else Java properties as in Apache\'s broker.conf; then Apache\'s defaults hold too' -r -F
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l set -d 'A configuration key; may be given several times' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l listen -d 'Address to listen on; port 0 is a free one [default: 127.0.0.1:10911]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l namesrv-listen -d 'Address of the embedded name server [default: 127.0.0.1:9876, a free port if --listen has port 0]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l store -d 'Folder of the store [default: rmq/store in the user\'s data directory]' -r -F
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l name -d 'Its name, shared by a master and its slaves [default: the host name up to its first dot]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l cluster -d 'Cluster it belongs to [default: DefaultCluster]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l advertise -d 'Address clients are told, where it is not the one listened on (brokerIP1)' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from stop" -l store -d 'The store of the broker to stop [default: that of `rmq broker start`]' -r -F
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from stop" -s c -l config -d 'Find the store as `rmq broker start -c FILE` does' -r -F
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from stop" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from stop" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from stop" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from show" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from show" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from show" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from config" -l broker -d 'Name of the broker, where there are several' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from config" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from config" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from config" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from help" -f -a "start" -d 'Run a broker until Ctrl-C or SIGTERM'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from help" -f -a "stop" -d 'Stop the broker of a store on this machine: it finishes what it has begun, and leaves a store that needs no recovery'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from help" -f -a "show" -d 'List brokers, or show everything one says of itself'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from help" -f -a "config" -d 'Show the configuration of a running broker, or change it'
complete -c rmq -n "__fish_rmq_using_subcommand broker; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and not __fish_seen_subcommand_from start help" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and not __fish_seen_subcommand_from start help" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and not __fish_seen_subcommand_from start help" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and not __fish_seen_subcommand_from start help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and not __fish_seen_subcommand_from start help" -f -a "start" -d 'Run a name server until Ctrl-C or SIGTERM. Several know nothing of each other: brokers register with all'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and not __fish_seen_subcommand_from start help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -s c -l config -d 'Configuration: `.toml`, else Java properties; then Apache\'s defaults hold too' -r -F
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -l set -d 'A configuration key; may be given several times' -r
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -l listen -l namesrv-listen -d 'Address to listen on; port 0 is a free one [default: 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from help" -f -a "start" -d 'Run a name server until Ctrl-C or SIGTERM. Several know nothing of each other: brokers register with all'
complete -c rmq -n "__fish_rmq_using_subcommand namesrv; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand completion" -s n -l namesrv -d 'Name servers, separated by `;` or `,` [default: $NAMESRV_ADDR, else 127.0.0.1:9876]' -r
complete -c rmq -n "__fish_rmq_using_subcommand completion" -s o -l output -d 'How results are printed' -r -f -a "table\t'Columns for people'
json\t'JSON: lists are arrays, single things are objects, streams are one object a line'"
complete -c rmq -n "__fish_rmq_using_subcommand completion" -l json -d 'Print results as JSON: the same as `-o json`'
complete -c rmq -n "__fish_rmq_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "dev" -d 'Run name server and broker on this machine, for trying and developing'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "send" -d 'Send messages'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "consume" -d 'Print messages, or run a command on each'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "topic" -d 'List, show, create, change and delete topics'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "group" -d 'List, show, move and delete consumer groups'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "msg" -d 'Find and show messages'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "broker" -d 'Run a broker, or ask one'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "namesrv" -d 'Run a name server'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "completion" -d 'Print the completion script of a shell'
complete -c rmq -n "__fish_rmq_using_subcommand help; and not __fish_seen_subcommand_from dev send consume topic group msg broker namesrv completion help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from topic" -f -a "ls" -d 'List topics'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from topic" -f -a "show" -d 'Show a topic: its settings at each broker, its queues, and who consumes it'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from topic" -f -a "route" -d 'Show what name servers tell clients: which brokers hold a topic, where, with how many queues'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from topic" -f -a "create" -d 'Create a topic on every master of a cluster'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from topic" -f -a "set" -d 'Change settings of a topic. What is not named stays as it is, at each broker by itself'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from topic" -f -a "delete" -d 'Delete a topic with its messages and the offsets of its groups'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from group" -f -a "ls" -d 'List consumer groups'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from group" -f -a "show" -d 'Show a group: its settings at each broker, its members, and what they subscribe to'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from group" -f -a "lag" -d 'Show how far a group is behind, queue by queue; without GROUP, all groups'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from group" -f -a "reset" -d 'Move a group in a topic: each queue gets a new offset, running members go on from there'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from group" -f -a "delete" -d 'Delete a group at every broker that knows it. Its retry and dead letter topics stay'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from msg" -f -a "find" -d 'Find messages by the key their producer gave them'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from msg" -f -a "show" -d 'Show a message by any of its ids, or by its place'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from broker" -f -a "start" -d 'Run a broker until Ctrl-C or SIGTERM'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from broker" -f -a "stop" -d 'Stop the broker of a store on this machine: it finishes what it has begun, and leaves a store that needs no recovery'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from broker" -f -a "show" -d 'List brokers, or show everything one says of itself'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from broker" -f -a "config" -d 'Show the configuration of a running broker, or change it'
complete -c rmq -n "__fish_rmq_using_subcommand help; and __fish_seen_subcommand_from namesrv" -f -a "start" -d 'Run a name server until Ctrl-C or SIGTERM. Several know nothing of each other: brokers register with all'
