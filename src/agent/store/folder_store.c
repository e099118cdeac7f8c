/* Finds, makes and locks the folders that stay from run to run. */
#define _GNU_SOURCE 1
#include "folder_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

enum { NUMBERS = 1000 };

/* Locks of folders of ours, for as long as the agent lives: the tests run in them. */
static struct held {
  char *base; /* BASE/trees/KEY */
  int number, lock;
  struct held *next;
} * all_held;

static int open_folder(int parent, const char *name) {
  return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Ours alone, from now on if need be (a umask may have let the group in). */
static bool is_private(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
         ((st.st_mode & 022) == 0 || fchmod(fd, st.st_mode & 0755) == 0) &&
         faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) == 0;
}

/* Makes base/name (and all above it when `deep`), for us alone. Returns a descriptor or -1. */
static int make_private(char path[static PATH_MAX], const char *base, const char *name, bool deep) {
  if (!base || *base != '/') return -1;
  if (snprintf(path, PATH_MAX, "%s%s", base, name) >= PATH_MAX) return -1;
  if (deep) file_make_parents(path);
  mkdir(path, 0700);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd >= 0 && !is_private(fd)) {
    close(fd);
    fd = -1;
  }
  return fd;
}

/* The first of the usual places that can be ours: a cache if possible, else temporary. */
static int open_base(char path[static PATH_MAX]) {
  char user[32], cache[PATH_MAX - 64];
  const char *home = getenv("HOME"), *temporary = getenv("TMPDIR");
  int fd = make_private(path, getenv("XDG_CACHE_HOME"), "/runner", true);
  if (fd < 0 && home && snprintf(cache, sizeof cache, "%s/.cache", home) < (int)sizeof cache)
    fd = make_private(path, cache, "/runner", true);
  snprintf(user, sizeof user, "/runner-%u", (unsigned)geteuid());
  if (fd < 0) fd = make_private(path, temporary, user, false);
  if (fd < 0) fd = make_private(path, "/tmp", user, false);
  if (fd < 0) fd = make_private(path, "/var/tmp", user, false);
  return fd;
}

/* Replaces *fd by its folder `name`, which is made. */
static bool descend(int *fd, char path[static PATH_MAX], const char *name) {
  size_t size = strlen(path);
  snprintf(path + size, PATH_MAX - size, "/%s", name);
  mkdirat(*fd, name, 0700);
  int below = openat(*fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  int error = errno;
  close(*fd);
  *fd = below;
  errno = error;
  return below >= 0;
}

static const struct held *find_held(const char *base) {
  const struct held *held = all_held;
  while (held && strcmp(held->base, base) != 0) held = held->next;
  return held;
}

/* Whether home is still what lies under that name: it may have expired just now. */
static bool is_there(int key, int number, int home) {
  char name[16];
  struct stat opened, named;
  snprintf(name, sizeof name, "%d", number);
  return fstat(home, &opened) == 0 && fstatat(key, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/* 0, EBUSY, ESTALE, or another errno. The lock's time says when the folder was last used. */
static int take_lock(struct folder_store *store, int key, const char *base, int number) {
  if (store->own && find_held(base)) return 0; /* from an earlier sync of this agent */
  int fd = openat(store->home, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), error = 0;
  if (fd < 0) return errno;
  /* A file system without locks has one agent at a time, or bad luck. */
  if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
    error = EBUSY;
  else if (!is_there(key, number, store->home))
    error = ESTALE;
  if (error) {
    close(fd);
    return error;
  }
  futimens(fd, NULL);
  if (store->own) {
    struct held *held = must(malloc(sizeof *held));
    *held = (struct held){must(strdup(base)), number, fd, all_held};
    all_held = held;
  } else {
    store->lock = fd;
  }
  return 0;
}

static int open_number(struct folder_store *store, int key, const char *base, int number) {
  char name[16];
  snprintf(name, sizeof name, "%d", number);
  snprintf(store->path, sizeof store->path, "%s", base);
  store->home = dup(key);
  if (store->home < 0 || !descend(&store->home, store->path, name)) return errno;
  int error = take_lock(store, key, base, number);
  if (error || !store->own) return error;
  mkdirat(store->home, "tree", 0755);
  store->root = openat(store->home, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (store->root < 0) error = errno;
  size_t size = strlen(store->path); /* store_open has seen to the room */
  snprintf(store->path + size, sizeof store->path - size, "/tree");
  return error;
}

static int open_given(struct folder_store *store, const char *folder) {
  if (strlen(folder) >= PATH_MAX - 1) return ENAMETOOLONG;
  snprintf(store->path, PATH_MAX, "%s/", folder);
  file_make_parents(store->path);
  store->path[strlen(folder)] = 0;
  store->root = open_folder(AT_FDCWD, folder);
  return store->root < 0 ? errno : 0;
}

static int try_open(struct folder_store *store, const char *key, const char *folder) {
  char base[PATH_MAX] = "";
  *store = (struct folder_store){.home = -1, .root = -1, .lock = -1, .own = !*folder};
  int fd = open_base(base);
  if (fd < 0) {
    strcpy(store->path, "none of XDG_CACHE_HOME, ~/.cache, TMPDIR, /tmp and /var/tmp can be ours");
    return EACCES;
  }
  int error = EBUSY;
  if (strlen(base) + strlen(key) > PATH_MAX - 64)
    error = ENAMETOOLONG;
  else if (!descend(&fd, base, "trees") || !descend(&fd, base, key))
    error = errno;
  snprintf(store->path, sizeof store->path, "%s", base);
  const struct held *held = store->own ? find_held(base) : NULL;
  int most = store->own && !held ? NUMBERS : 1;
  for (int number = 0; error == EBUSY && number < most; number++) {
    store_close(store);
    error = open_number(store, fd, base, held ? held->number : number);
  }
  if (fd >= 0) close(fd);
  if (!error && !store->own) error = open_given(store, folder);
  if (error) store_close(store);
  return error;
}

int store_open(struct folder_store *store, const char *key, const char *folder) {
  int error = try_open(store, key, folder);
  /* Somebody removed what was found to be idle, see expire.c. */
  for (int i = 0; i < 3 && (error == ESTALE || error == ENOENT); i++)
    error = try_open(store, key, folder);
  return error;
}

int store_trees(char path[static PATH_MAX]) {
  int fd = open_base(path);
  if (fd >= 0 && strlen(path) < PATH_MAX - 64) descend(&fd, path, "trees");
  return fd;
}

bool store_is_used(void) { return all_held != NULL; }

void store_close(struct folder_store *store) {
  if (store->home >= 0) close(store->home);
  if (store->root >= 0) close(store->root);
  if (store->lock >= 0) close(store->lock);
  store->home = store->root = store->lock = -1;
}

int store_sibling(const struct folder_store *store, int *number, int *tree) {
  struct stat own, st;
  if (!store->own || fstat(store->home, &own) < 0) return -1;
  while (*number < NUMBERS) {
    char name[32];
    snprintf(name, sizeof name, "../%d", (*number)++);
    int home = open_folder(store->home, name);
    if (home < 0) continue; /* none so far, or it has expired */
    if (fstat(home, &st) == 0 && st.st_ino != own.st_ino) {
      *tree = open_folder(home, "tree");
      if (*tree >= 0) return home;
    }
    close(home);
  }
  return -1;
}
