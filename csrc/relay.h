/* relay.h - the supervisor's share of what the terminal's keys send while a tree has the terminal. */
#ifndef TG_RELAY_H
#define TG_RELAY_H

/* The kernel sends the signals of Ctrl-C, Ctrl-Backslash and Ctrl-Z to the terminal's foreground group alone. While that
 * is a tree's, this process is a member of it. It sends them on to `group`, the supervisor's. Before that it writes each
 * signal's number to its standard input, a socket to the supervisor. It ends when the other end of that is shut down or
 * closed, after it has sent on what came before. Returns an exit status. */
int tg_relay(const char *group);

#endif
