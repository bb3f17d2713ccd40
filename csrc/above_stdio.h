/* above_stdio.h - descriptors above those of the standard streams. */
#ifndef TG_ABOVE_STDIO_H
#define TG_ABOVE_STDIO_H

/* Takes a descriptor and returns one above the standard streams for the same file, close-on-exec. A host may have closed
 * its standard streams, as daemons do, and a new descriptor may get one of their numbers: a child would replace it by its
 * own standard stream. A negative number is returned as it is. After an error returns -1 with errno. */
int tg_above_stdio(int fd_take);

#endif
