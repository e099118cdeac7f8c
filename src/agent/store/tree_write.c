/* Makes the folders, links and files of a synced folder. No step follows a link. */
#define _GNU_SOURCE 1
#include "tree_write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

int part_begin(const struct tree_writer *writer, struct part *part, int parent) {
  part->folder = fcntl(writer->store.own ? writer->store.home : parent, F_DUPFD_CLOEXEC, 5);
  if (part->folder < 0) return errno;
  part->file =
      openat(part->folder, part->name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (part->file >= 0) return 0;
  int error = errno;
  close(part->folder);
  part->folder = -1;
  return error;
}

void part_end(struct part *part, bool placed) {
  if (part->file >= 0) close(part->file);
  if (part->folder >= 0 && !placed) unlinkat(part->folder, part->name, 0);
  if (part->folder >= 0) close(part->folder);
  part->file = part->folder = -1;
}

int part_write(struct part *part, struct slice bytes) {
  bool zeros = bytes.bytes[0] == 0 && memcmp(bytes.bytes, bytes.bytes + 1, bytes.size - 1) == 0;
  if (zeros) return lseek(part->file, (off_t)bytes.size, SEEK_CUR) < 0 ? errno : 0;
  return file_write(part->file, bytes.bytes, bytes.size);
}

/* Makes way for an entry of another kind. In a folder of ours, whatever it is; else only what an
 * earlier manifest has put there. */
static int clear(struct tree_writer *writer, int parent, const char *name, const struct entry *e,
                 bool folder) {
  if (!writer->store.own && !writer->known && !manifest_find(&writer->earlier, e->path))
    return EEXIST;
  walk_forget(&writer->walk); /* the descriptor itself stays open, see walk_parent */
  if (!folder) return unlinkat(parent, name, 0) < 0 ? errno : 0;
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0) return 0;
  if (!writer->store.own) return errno;
  file_remove_tree(parent, name);
  return 0;
}

int tree_make_folder(struct tree_writer *writer, int parent, const char *name,
                     const struct entry *e) {
  struct stat st;
  mode_t mode = e->mode | 0700; /* we have to get in again */
  if (mkdirat(parent, name, mode) < 0) {
    if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0) return errno;
    if (!S_ISDIR(st.st_mode)) {
      int error = clear(writer, parent, name, e, false);
      if (error) return error;
      if (mkdirat(parent, name, mode) < 0) return errno;
    } else if ((st.st_mode & 0777) == mode) {
      return 0;
    }
  }
  return fchmodat(parent, name, mode, 0) < 0 ? errno : 0;
}

int tree_make_link(struct tree_writer *writer, int parent, const char *name,
                   const struct entry *e) {
  char now[PATH_MAX];
  struct stat st;
  ssize_t size = readlinkat(parent, name, now, sizeof now);
  if (size >= 0 && (size_t)size == strlen(e->target) && memcmp(now, e->target, (size_t)size) == 0)
    return 0;
  if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
    int error = clear(writer, parent, name, e, S_ISDIR(st.st_mode));
    if (error) return error;
  }
  return symlinkat(e->target, parent, name) < 0 ? errno : 0;
}

int part_place(struct tree_writer *writer, struct part *part, int parent, const char *name,
               struct entry *e) {
  struct stat st, there;
  int error = 0;
  if (fchmod(part->file, e->mode) < 0) error = errno;
  if (!error && fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode))
    error = clear(writer, parent, name, e, true);
  if (!error && renameat(part->folder, part->name, parent, name) < 0) error = errno;
  if (error) return error;
  if (fstat(part->file, &st) < 0) return errno; /* after the rename: it touches the ctime */
  part_end(part, true);
  e->stamp = stamp_of(&st);
  return 0;
}
