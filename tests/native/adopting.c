/* Becomes a subreaper, then runs a program: PROGRAM ARGUMENT…
 *
 * For an emulator that refuses the call to the emulated guard. It lasts over an exec (prctl(2)). */
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return 125;
    execv(argv[1], argv + 1);
    return 126;
}
