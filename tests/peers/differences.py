"""Where ``treeguard run`` does something else than the others, and why.

By the program, and by a part of the name of each check of its suite that is about it.
"""

from __future__ import annotations

__all__ = ["LISTED"]

_NO_REWRITING = "only SIGTERM can be replaced (--signal); the other signals are the command's as they come"
_OWN_WORDS = "messages, help and version are worded otherwise"
_NOTHING_IS_LEFT = "looks for processes that outlive the command, of which there are none"
_SAME_SIGNAL = "dies of the same signal, so that a shell's loop and make stop; shells show 128+N for both"
_VERBOSE = "does not tell what it does"
_STOPS = "the command decides: it gets the signal itself, not SIGSTOP, and the stand-in stops when the command stops"
_TIMED_OUT = "the status is 124 whenever the time was over, also after SIGKILL; how the command ended is not kept"
_REMAPPING = "exit codes are not remapped"
_NO_WARNING = "an orphan is reaped in any case, without a word"

LISTED: dict[str, dict[str, str]] = {
    "dumb-init": {
        "test_setsid_signals_entire_group": "waits until there are six processes, and the guard is the seventh",
        "test_no_setsid_doesnt_signal_entire_group": _NOTHING_IS_LEFT,
        "test_all_processes_receive_term_on_exit_if_setsid": f"{_NOTHING_IS_LEFT}, after they were asked",
        "test_processes_dont_receive_term_on_exit_if_no_setsid": _NOTHING_IS_LEFT,
        "test_fails_nonzero_with_bad_exec": _OWN_WORDS,
        "test_no_arguments_prints_usage": _OWN_WORDS,
        "test_exits_invalid_with_invalid_args": f"{_OWN_WORDS}, and the status is 125",
        "test_help_message": _OWN_WORDS,
        "test_version_message": _OWN_WORDS,
        "test_verbose": _VERBOSE,
        "test_sighup_sigcont_ignored_if_was_session_leader": _VERBOSE,
        "test_rewrite_errors": _NO_REWRITING,
        "rewrite_map2": _NO_REWRITING,
        "rewrite_map3": _NO_REWRITING,
        "test_default_rewrites_can_be_overriden": _NO_REWRITING,
        "test_ignored_signals_are_not_proxied": _NO_REWRITING,
        "test_exit_status_terminated_by_signal": _SAME_SIGNAL,
        "test_shell_background_support": _STOPS,
    },
    "timeout": {
        "--preserve-status": _TIMED_OUT,
        "-s0 -k1": _TIMED_OUT,
        "compare exp err": _VERBOSE,
        "timeout-group: test -e int.received": "a SIGINT that was ignored stays ignored in the command",
        "timeout-group: goes through": "SIGALRM is the command's, and no end of the time",
    },
    "tini": {
        "exit code test for tini: ret == 0": _REMAPPING,
        "reaping display test": _NO_WARNING,
        "reaping failure test": _NO_WARNING,
        "ret == 128 + signum": _SAME_SIGNAL,
        "children(recursive=True)) == 2": "waits until there are two processes, and the guard is the third",
    },
}
