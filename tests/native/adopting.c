/* Becomes a subreaper and then runs a program: PROGRAM ARGUMENT…
 *
 * For a guard under an emulator that does not support the call. The setting persists across exec (prctl(2)). */
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return 125;
    execv(argv[1], argv + 1);
    return 126;
}
