/* liar.c - a guard that says what a test wants: in a guard's place, with a guard's command line (csrc/wire.h).
 *
 * Each argument of the root is a word: hexadecimal digits are a message for the lifeline; "hang" hangs up, "read" takes
 * one message, "stay" stays until it is killed, "crash" ends by a signal, "child" leaves a process in a session of its
 * own. After the last one it ends. */
#define _GNU_SOURCE
#include "../../csrc/handover.c"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A test that crashed leaves nothing for longer, in seconds. */
enum { LIFE = 60, ROOM = 4096, DESCRIPTORS = 256 };

static void say(int lifeline, const char *digits)
{
    static unsigned char message[ROOM];
    size_t size = 0;
    for (char pair[3] = ""; digits[0] && digits[1] && size < ROOM; digits += 2) {
        memcpy(pair, digits, 2);
        message[size++] = (unsigned char)strtoul(pair, NULL, 16);
    }
    send(lifeline, message, size, MSG_NOSIGNAL);
}

static void stay(void)
{
    for (;;)
        pause();
}

static void leave_child(void)
{
    if (fork() > 0)
        return;
    /* A copy of the lifeline would look like a guard that is still alive. */
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        close(fd);
    setsid();
    alarm(LIFE);
    stay();
}

int main(int argc, char **argv)
{
    sigset_t none;
    char message[64];
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(LIFE);
    struct tg_handover handover;
    static struct tg_attributes attributes;
    if (argc < 4 || !tg_handover_read(argv[1], &handover, &attributes))
        return 2;
    int lifeline = handover.lifeline;
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "hang") == 0)
            shutdown(lifeline, SHUT_RDWR);
        else if (strcmp(argv[i], "stay") == 0)
            stay();
        else if (strcmp(argv[i], "crash") == 0)
            raise(SIGKILL);
        else if (strcmp(argv[i], "child") == 0)
            leave_child();
        else if (strcmp(argv[i], "read") == 0)
            recv(lifeline, message, sizeof message, 0);
        else
            say(lifeline, argv[i]);
    }
    return 0;
}
