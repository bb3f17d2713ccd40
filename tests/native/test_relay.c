/* Every call of the relay (linux/relay.c) fails once, with each error that it can give. In each case what its group got
 * reaches the supervisor's, or the relay has ended by itself; it ends when its socket does.
 *
 * Arguments: the guard, which is the relay's program too, and a file for the sites of all calls (sites.py). */
#include "lives.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

/* Time limit in milliseconds for operations that take one or two, on a busy machine; LIFE is in seconds. */
enum { PATIENCE = 20000, LIFE = 60 };

/* What is seen of a relay's work, and when: it is stopped twice, and then its socket is shut down. */
enum { TOLD = 1, STOPPED = 2, ENDED = 4 };
enum when { FIRST, SECOND, LAST };

static const char *guard;
/* mkstemp fills it in. */
static char page_path[] = "/tmp/treeguard-relay-XXXXXX";

/* A group of its own, which SIGTSTP stops: its parent, in the same session, is in another one. */
static int start_supervisor(void)
{
    int pid = fork();
    if (pid == 0) {
        alarm(LIFE);
        for (;;)
            pause();
    }
    CHECK(pid > 0 && setpgid(pid, pid) == 0);
    return pid;
}

/* As an editor stops the job that it is a part of, a member stops the group: here the relay itself before its exec, so that
 * the signal is there before any of its calls. All signals are blocked, as its supervisor does it. */
static int start_relay(int socket, int supervisor)
{
    char group[16], page[64];
    char *argv[] = {"guard", "relay", group, NULL}, *envp[] = {page, NULL};
    sigset_t all, held;
    snprintf(group, sizeof group, "%d", supervisor);
    snprintf(page, sizeof page, "%s=%s", FAULTS_VARIABLE, page_path);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &held);
    int pid = fork();
    if (pid == 0) {
        if (setpgid(0, 0) == 0 && kill(0, SIGTSTP) == 0 && dup2(socket, 0) == 0)
            execve(guard, argv, envp);
        _exit(127);
    }
    sigprocmask(SIG_SETMASK, &held, NULL);
    CHECK(pid > 0);
    return pid;
}

/* Another member does. The relay looks it up, so it is not reaped yet. */
static int stop_again(int relay)
{
    siginfo_t ended;
    int pid = fork();
    if (pid == 0) {
        signal(SIGTSTP, SIG_IGN);
        _exit(setpgid(0, relay) < 0 || kill(0, SIGTSTP) < 0);
    }
    CHECK(pid > 0 && waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) == 0);
    return pid;
}

/* What is seen whatever this call's failure does. A relay that cannot wait any more has sent on what came before. */
static int seen_after(int number, int err)
{
    switch (number) {
    case SYS_signalfd4:
        return ENDED;
    case SYS_sendto:
        return STOPPED;
    case SYS_kill:
        return TOLD;
    case SYS_ppoll:
        return err == EINTR ? TOLD | STOPPED : TOLD | STOPPED | ENDED;
    default:
        return TOLD | STOPPED;
    }
}

static int wanted_now(enum when when)
{
    int wanted = faults->err ? seen_after(faults->number, faults->err) : TOLD | STOPPED;
    return when == LAST || (when == SECOND && (wanted & ENDED)) ? ENDED : wanted;
}

/* Waits until what must be seen was. The call that fails may come meanwhile. */
static void await(enum when when, int relay, int supervisor, int end)
{
    int seen = 0, wanted = 0;
    for (long deadline = now_ms() + PATIENCE; now_ms() < deadline;) {
        struct pollfd p = {end, seen & TOLD ? 0 : POLLIN, 0};
        siginfo_t of = {0};
        char told = 0;
        wanted = wanted_now(when);
        if ((seen & wanted) == wanted)
            return;
        poll(&p, 1, 1);
        if (recv(end, &told, 1, MSG_DONTWAIT) == 1 && told == SIGTSTP)
            seen |= TOLD;
        if (waitid(P_PID, (id_t)supervisor, &of, WSTOPPED | WNOHANG) == 0 && of.si_pid && of.si_status == SIGTSTP)
            seen |= STOPPED;
        of.si_pid = 0;
        if (waitid(P_PID, (id_t)relay, &of, WEXITED | WNOHANG | WNOWAIT) == 0 && of.si_pid)
            seen |= ENDED;
    }
    CHECK_EQUAL(seen & wanted, wanted);
}

/* Runs one relay of which one call fails. */
static void relay_with_fault(int lacks, int at, int which)
{
    int ends[2], status = 0;
    plan(FAULTS_GUARD, lacks, at, which);
    faults->armed = 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    int supervisor = start_supervisor();
    int relay = start_relay(ends[1], supervisor);
    close(ends[1]);
    await(FIRST, relay, supervisor, ends[0]);
    kill(supervisor, SIGCONT);
    int member = stop_again(relay);
    await(SECOND, relay, supervisor, ends[0]);
    shutdown(ends[0], SHUT_RDWR);
    await(LAST, relay, supervisor, ends[0]);
    kill(supervisor, SIGKILL);
    if (check_failures)
        kill(relay, SIGKILL);
    CHECK(waitpid(relay, &status, 0) == relay);
    CHECK(WIFEXITED(status));
    CHECK_EQUAL(WEXITSTATUS(status), faults->err && faults->number == SYS_signalfd4 ? 2 : 0);
    CHECK(waitpid(supervisor, NULL, 0) == supervisor);
    CHECK(waitpid(member, &status, 0) == member && status == 0);
    close(ends[0]);
    faults->armed = 0;
}

static void a_relay_survives_every_fault(void)
{
    fprintf(stderr, "  relay: %d lives\n", every_fault(relay_with_fault, 0));
}

static void a_relay_of_an_older_kernel_does(void)
{
    fprintf(stderr, "  relay, no close_range: %d lives\n", every_fault(relay_with_fault, LACKS_CLOSE_RANGE));
}

static void remove_page(void)
{
    unlink(page_path);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    guard = argv[1];
    atexit(remove_page);
    CHECK(faults_make(page_path) == 0);
    RUN(a_relay_survives_every_fault);
    RUN(a_relay_of_an_older_kernel_does);
    CHECK(faults_write(argv[2]) == 0);
    return check_failures != 0;
}
