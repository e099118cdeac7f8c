/* Writes and removes files in the sandbox. */
#ifndef RUNNER_AGENT_FILE_H
#define RUNNER_AGENT_FILE_H

#include "agent/wire/frame.h"

/* Each returns 0 or errno. */
int file_put(
    const struct put_frame *put); /* readers see the old file or the new one, never half of it */
int file_mkdtemp(struct slice prefix, char path[static 4096]); /* goes with file_remove_folders */
int file_write(int fd, const char *bytes, size_t size);        /* all of it */

/* Makes the folders above path, which is changed only meanwhile. What cannot be made is left for the opening of
 * the file to tell. */
void file_make_parents(char *path);

void file_remove_folders(void);
/* As far as that is possible. Never follows a link, and opens up folders that tests have closed to themselves. */
void file_remove_tree(int parent, const char *name);
extern int64_t file_remove_until; /* monotonic µs after which nothing more is removed; 0: never */

#endif
