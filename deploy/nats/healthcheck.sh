#!/bin/sh
# nats-server's own health check. A server that names a stream three times in a row is ended, and the restart
# policy starts it again: after a full disk it recovers by nothing else.
answer=$(printf 'GET /healthz HTTP/1.0\r\n\r\n' | nc -w 4 127.0.0.1 8222)
case "$answer" in
*" 200 OK"*)
    rm -f /tmp/broken
    exit 0
    ;;
*"JetStream stream"*)
    echo broken >>/tmp/broken
    [ "$(wc -l </tmp/broken)" -lt 3 ] || kill -TERM 1
    ;;
esac
echo "$answer" >&2
exit 1
