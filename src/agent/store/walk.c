/* Walks below a folder part by part, so that no link can lead elsewhere. */
#define _GNU_SOURCE 1
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/wire/frame.h"

void walk_begin(struct walk *walk, int root) { *walk = (struct walk){.root = root, .parent = -1}; }

int walk_parent(struct walk *walk, const char *path, const char **name) {
  const char *slash = strrchr(path, '/');
  *name = slash ? slash + 1 : path;
  size_t size = slash ? (size_t)(slash - path) : 0;
  if (walk->path && strlen(walk->path) == size && memcmp(walk->path, path, size) == 0)
    return walk->parent;
  walk_end(walk);
  int fd = fcntl(walk->root, F_DUPFD_CLOEXEC, 5);
  char *parts = must(strndup(path, size)), *at = parts, *part;
  while (fd >= 0 && (part = strsep(&at, "/")) && *part) {
    int below = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    close(fd);
    errno = error;
    fd = below;
  }
  free(parts);
  if (fd < 0) return -1;
  walk->path = must(strndup(path, size));
  walk->parent = fd;
  return fd;
}

void walk_forget(struct walk *walk) {
  free(walk->path);
  walk->path = NULL;
}

void walk_end(struct walk *walk) {
  walk_forget(walk);
  if (walk->parent >= 0) close(walk->parent);
  walk->parent = -1;
}
