/* Every call of a request to end (linux/asking.c) fails once, with each error that it can give. In each case a stopped
 * member of the group hears the request. */
#include "../../csrc/asking.h"
#include "lives.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

/* Time limit in milliseconds for an end that takes one, on a busy machine; LIFE is in seconds. */
enum { PATIENCE = 20000, LIFE = 60 };

/* mkstemp fills it in. */
static char page_path[] = "/tmp/treeguard-asking-XXXXXX";

static int start_stopped(void)
{
    int status = 0, pid = fork();
    if (pid == 0) {
        alarm(LIFE);
        for (;;)
            pause();
    }
    CHECK(pid > 0 && setpgid(pid, pid) == 0 && kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    return pid;
}

/* Returns the status with which it ends, or -1. */
static int await_end(int pid)
{
    int status = -1;
    for (long deadline = now_ms() + PATIENCE; now_ms() < deadline;) {
        struct timespec pause = {0, 200000};
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid);
    return -1;
}

/* Asks one stopped process while one call fails. */
static void ask_with_fault(int lacks, int at, int which)
{
    int pid = start_stopped();
    plan(FAULTS_LIBRARY, lacks, at, which);
    CHECK(kill(-pid, SIGTERM) == 0);
    faults->armed = 1;
    tg_let_hear(pid, 0);
    faults->armed = 0;
    /* Nobody hears a signal that may not be sent. */
    if (faults->err && faults->number == SYS_kill)
        kill(pid, SIGCONT);
    int status = await_end(pid);
    CHECK(status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void a_stopped_process_hears_whatever_fails(void)
{
    int lives = every_fault(ask_with_fault, 0);
    CHECK(lives > 10);
    fprintf(stderr, "  asking: %d lives\n", lives);
}

static void it_hears_on_an_older_kernel(void)
{
    fprintf(stderr, "  asking, no pidfds: %d lives\n", every_fault(ask_with_fault, LACKS_HANDLES));
}

static void remove_page(void)
{
    unlink(page_path);
}

int main(void)
{
    atexit(remove_page);
    CHECK(faults_make(page_path) == 0);
    RUN(a_stopped_process_hears_whatever_fails);
    RUN(it_hears_on_an_older_kernel);
    return check_failures != 0;
}
