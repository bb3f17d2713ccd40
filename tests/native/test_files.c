/* Every call that opens a pseudo-terminal, or looks for a program, fails once, with each error that it can give. In each
 * case there is what was asked for, or an error that says why not, and no descriptor is left. */
#include "lives.h"

#include "../../csrc/treeguard.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { DESCRIPTORS = 64 };

/* mkstemp fills it in. */
static char page_path[] = "/tmp/treeguard-files-XXXXXX";
static int without_input;

static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* What is typed at one end is read at the other. */
static int is_pair(int ours, int childs)
{
    char text[3] = "";
    return isatty(childs) && write(childs, "ab", 2) == 2 && read(ours, text, 2) == 2 && text[0] == 'a' && text[1] == 'b';
}

/* Some failures have another way: that of a kernel before 4.13, and what cannot be opened a second time stays as it is. */
static void open_with_fault(int lacks, int at, int which)
{
    int before = open_descriptors();
    int32_t ours = -1, childs = -1;
    int input = without_input ? fcntl(0, F_DUPFD_CLOEXEC, 3) : -1;
    if (without_input)
        close(0);
    plan(FAULTS_LIBRARY, lacks, at, which);
    faults->armed = 1;
    int ret = tg_pty_kept(&ours, &childs);
    faults->armed = 0;
    if (without_input) {
        CHECK(dup2(input, 0) == 0);
        close(input);
    }
    CHECK(ret == 0 ? ours > 2 && childs > 2 && is_pair(ours, childs) : ret == -faults->err && childs < 0);
    if (ours >= 0)
        close(ours);
    if (childs >= 0)
        close(childs);
    CHECK_EQUAL(open_descriptors(), before);
}

/* The first of two programs is not found if it cannot be looked at. */
static void find_with_fault(int lacks, int at, int which)
{
    static const char paths[] = "/nonexistent/sh\0/bin/sh\0/bin/cat";
    plan(FAULTS_LIBRARY, lacks, at, which);
    faults->armed = 1;
    int found = tg_find(paths, 3);
    faults->armed = 0;
    CHECK(found == 1 || (found == 2 && faults->err));
}

static void a_terminal_opens_or_says_why_not(void)
{
    int lives = every_fault(open_with_fault, 0);
    CHECK(lives > 10);
    fprintf(stderr, "  terminal: %d lives\n", lives);
}

static void it_does_without_standard_input(void)
{
    without_input = 1;
    fprintf(stderr, "  terminal, no standard input: %d lives\n", every_fault(open_with_fault, 0));
}

static void an_older_kernel_has_names(void)
{
    without_input = 0;
    faults_lack_peer = 1;
    fprintf(stderr, "  terminal, by name: %d lives\n", every_fault(open_with_fault, 0));
}

static void a_program_is_found_or_passed_over(void)
{
    int lives = every_fault(find_with_fault, 0);
    CHECK(lives > 2);
    fprintf(stderr, "  program: %d lives\n", lives);
}

static void remove_page(void)
{
    unlink(page_path);
}

int main(void)
{
    atexit(remove_page);
    CHECK(faults_make(page_path) == 0);
    RUN(a_terminal_opens_or_says_why_not);
    RUN(it_does_without_standard_input);
    RUN(an_older_kernel_has_names);
    RUN(a_program_is_found_or_passed_over);
    return check_failures != 0;
}
