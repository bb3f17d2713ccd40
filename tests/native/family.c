/* A tree for tests: a root, a child in its group, and a daemon in its own session. It writes one byte to standard
 * output when all of them run. With the argument "quick" it ends at once, with "leave" after its child has stopped,
 * which writes the byte when it gets a SIGTERM. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Limits how long processes remain after a crash of the test, in seconds. */
enum { LIFE = 20 };

static void stay(void)
{
    alarm(LIFE);
    for (;;)
        pause();
}

static void tell(int signal)
{
    if (write(1, "x", 1) != 1)
        _exit(signal);
}

static void stay_stopped(void)
{
    signal(SIGTERM, tell);
    raise(SIGSTOP);
    stay();
}

int main(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] == 'q')
        return 0;
    pid_t child = fork();
    if (child == 0 && argc > 1)
        stay_stopped();
    if (child == 0)
        stay();
    if (argc > 1)
        return waitpid(child, NULL, WUNTRACED) != child;
    pid_t between = fork();
    if (between == 0) {
        setsid();
        if (fork() == 0)
            stay();
        _exit(0);
    }
    waitpid(between, NULL, 0);
    if (write(1, "x", 1) != 1)
        return 1;
    stay();
}
