/* Writes files in one step, and removes folders when the agent goes. */
#define _GNU_SOURCE 1
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"

int64_t file_remove_until;

static char **folders;
static size_t folder_count;

void file_make_parents(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0777);
    *slash = '/';
  }
}

int file_write(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t put = write(fd, bytes, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno;
    bytes += put;
    size -= (size_t)put;
  }
  return 0;
}

int file_put(const struct put_frame *put) {
  static const char suffix[] = ".XXXXXX";
  char path[PATH_MAX], temporary[PATH_MAX + sizeof suffix];
  if (put->path.size >= sizeof path) return ENAMETOOLONG;
  memcpy(path, put->path.bytes, put->path.size);
  path[put->path.size] = 0;
  file_make_parents(path);
  snprintf(temporary, sizeof temporary, "%s%s", path, suffix);
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0) return errno;
  int error = file_write(fd, put->bytes.bytes, put->bytes.size);
  if (!error && fchmod(fd, put->mode & 07777) < 0) error = errno;
  if (close(fd) < 0 && !error) error = errno;
  if (!error && rename(temporary, path) < 0) error = errno;
  if (error) unlink(temporary);
  return error;
}

int file_mkdtemp(struct slice prefix, char path[static 4096]) {
  const char *root = getenv("TMPDIR");
  if (!root || !*root) root = "/tmp";
  int size = snprintf(path, 4096, "%s/%.*sXXXXXX", root, (int)prefix.size, prefix.bytes);
  if (size >= 4096) return ENAMETOOLONG;
  if (!mkdtemp(path)) return errno;
  folders = must(realloc(folders, (folder_count + 1) * sizeof *folders));
  folders[folder_count++] = must(strdup(path));
  return 0;
}

void file_remove_tree(int parent, const char *name) {
  if (file_remove_until && monotonic_us() > file_remove_until) return;
  if (unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM && errno != EACCES))
    return;
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(parent, name, flags);
  if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
    fd = openat(parent, name, flags);
  if (fd < 0) return;
  fchmod(fd, 0700);
  DIR *folder = fdopendir(fd);
  if (!folder) {
    close(fd);
    return;
  }
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      file_remove_tree(fd, entry->d_name);
  closedir(folder);
  unlinkat(parent, name, AT_REMOVEDIR);
}

void file_remove_folders(void) {
  for (size_t i = 0; i < folder_count; i++) {
    file_remove_tree(AT_FDCWD, folders[i]);
    free(folders[i]);
  }
  free(folders);
}
