# A child in plain shell: it is attached, beats for a while, and then hangs.
#
# Its control connection is its standard input (control="stdin"), since a portable shell cannot use descriptors above 9.
# What it says, it has to say with a builtin, since the process that speaks must be there when the supervisor reads.

exec 3<&0 </dev/null
unset TREEGUARD_CONTROL_FD

IFS= read -r welcome <&3
token=${welcome#*'"token":"'}
token=${token%%'"'*}
printf '{"jsonrpc":"2.0","id":1,"method":"hello","params":{"token":"%s","client":{"name":"shell"}}}\n' "$token" >&3
unset welcome token
IFS= read -r granted <&3
case $granted in
*'"result"'*) ;;
*) exit 1 ;;
esac

printf '{"jsonrpc":"2.0","id":2,"method":"log.line","params":["attached"]}\n' >&3
IFS= read -r answer <&3
for beat in 1 2 3; do
	printf '{"jsonrpc":"2.0","method":"heartbeat"}\n' >&3
	sleep 0.2
done
printf '{"jsonrpc":"2.0","id":3,"method":"log.line","params":["hangs"]}\n' >&3
sleep 1000 & # What hangs has children, too.
wait
