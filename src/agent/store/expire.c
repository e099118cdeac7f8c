/*
 * Removes BASE/trees/KEY/N (folder_store.h) that no agent holds the lock of and that was last taken
 * long ago. It is renamed first, under its lock, so that nobody takes a half-removed folder for a
 * whole one; what is not removed in time is removed by the next agent.
 */
#define _GNU_SOURCE 1
#include "expire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "file.h"
#include "folder_store.h"

enum {
  DAY_S = 24 * 60 * 60,
  TREE_S = 14 * DAY_S,
  TREE_SCARCE_S = DAY_S,
  LIST_S = 200 * DAY_S, /* what was synced into a folder that somebody named: a few bytes a file */
  SCARCE_PERCENT = 5,
  BUDGET_US = 2000000,
};

static const char gone[] = ".gone-"; /* no KEY starts with a dot */

struct sweep {
  int trees;
  char path[PATH_MAX];
  int64_t tree_s, list_s; /* idle for so long */
  bool told, dry;
};

static int open_below(int parent, const char *name) {
  return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Calls fn for what a folder holds, "." and ".." apart. */
static void each(int folder, void (*fn)(struct sweep *, int folder, const char *name, void *more),
                 struct sweep *sweep, void *more) {
  int own = open_below(folder, "."); /* closedir closes it */
  DIR *list = own < 0 ? NULL : fdopendir(own);
  if (!list && own >= 0) close(own);
  for (struct dirent *entry; list && (entry = readdir(list));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      fn(sweep, folder, entry->d_name, more);
  if (list) closedir(list);
}

static bool is_idle(const struct sweep *sweep, int home, int lock) {
  struct stat used, tree;
  bool is_tree = fstatat(home, "tree", &tree, AT_SYMLINK_NOFOLLOW) == 0;
  if (fstat(lock, &used) < 0) return false;
  return time(NULL) - used.st_mtim.tv_sec >= (is_tree ? sweep->tree_s : sweep->list_s);
}

static void remove_number(struct sweep *sweep, int key, const char *number, void *key_name) {
  static unsigned count;
  char aside[64];
  int home = open_below(key, number);
  int lock = home < 0 ? -1 : openat(home, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  bool idle = lock >= 0 && is_idle(sweep, home, lock) && flock(lock, LOCK_EX | LOCK_NB) == 0 &&
              is_idle(sweep, home, lock); /* again: nobody has had it in between */
  if (idle && !sweep->dry) {
    snprintf(aside, sizeof aside, "%s%d-%u", gone, (int)getpid(), count++);
    idle = renameat(key, number, sweep->trees, aside) == 0;
    if (idle) file_remove_tree(sweep->trees, aside);
  }
  if (idle && sweep->told) printf("%s/%s/%s\n", sweep->path, (char *)key_name, number);
  if (lock >= 0) close(lock);
  if (home >= 0) close(home);
}

static void look_at(struct sweep *sweep, int trees, const char *name, void *more) {
  (void)more;
  char key_name[NAME_MAX + 1];
  bool left = strncmp(name, gone, sizeof gone - 1) == 0;
  if (left && !sweep->dry) file_remove_tree(trees, name);
  int key = left ? -1 : open_below(trees, name);
  if (key < 0) return;
  snprintf(key_name, sizeof key_name, "%s", name);
  each(key, remove_number, sweep, key_name);
  close(key);
  if (!sweep->dry) unlinkat(trees, key_name, AT_REMOVEDIR); /* stays while there is a number */
}

static void run(struct sweep *sweep) {
  sweep->trees = store_trees(sweep->path);
  if (sweep->trees < 0) return;
  each(sweep->trees, look_at, sweep, NULL);
  close(sweep->trees);
}

static bool has_room(int folder, uint64_t bytes) {
  struct statvfs fs;
  if (fstatvfs(folder, &fs) < 0 || fs.f_blocks == 0) return true; /* nobody knows */
  uint64_t reserve = fs.f_blocks / 100 * SCARCE_PERCENT;
  return fs.f_bavail > reserve && (fs.f_bavail - reserve) * fs.f_frsize >= bytes;
}

static void run_bounded(int64_t tree_s) {
  struct sweep sweep = {.tree_s = tree_s, .list_s = LIST_S};
  file_remove_until = monotonic_us() + BUDGET_US;
  run(&sweep);
  file_remove_until = 0;
}

void expire_idle(void) {
  if (store_is_used()) run_bounded(TREE_S);
}

void expire_for_room(int folder, uint64_t bytes) {
  if (!has_room(folder, bytes)) run_bounded(TREE_SCARCE_S);
}

int expire_main(int argc, char **argv) {
  struct sweep sweep = {.told = true, .tree_s = TREE_S, .list_s = LIST_S};
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--all") == 0)
      sweep.tree_s = sweep.list_s = 0;
    else if (strcmp(argv[i], "--dry-run") == 0)
      sweep.dry = true;
    else
      return 64;
  }
  run(&sweep);
  return fflush(stdout) == 0 ? 0 : 70;
}
