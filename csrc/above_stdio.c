/* above_stdio.c - moves a descriptor above those of the standard streams. */
#include "above_stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int tg_above_stdio(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int saved = errno;
    close(fd);
    errno = saved;
    return high;
}
