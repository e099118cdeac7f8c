/*
 * Finds contents that were synced into another folder of the same host. They are shared block by
 * block where the file system can do that, else copied. Never hard links: tests write into their
 * files.
 */
#define _GNU_SOURCE 1
#include "reuse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "walk.h"

#define FICLONE _IOW(0x94, 9, int) /* linux/fs.h, which a libc without kernel headers lacks */

enum {
  COPY_MAX = 32 << 20, /* a larger copy would keep the agent from its other duties */
  SIBLINGS = 16,
};

struct known {
  const struct entry *entry;
};

struct reuse {
  struct sibling {
    struct walk walk;
    struct manifest manifest;
    struct known *by_hash; /* files, sorted by their hash */
    size_t count;
  } siblings[SIBLINGS];
  size_t count;
};

static int compare_hash(const void *a, const void *b) {
  const struct known *one = a, *other = b;
  return memcmp(one->entry->hash, other->entry->hash, SHA256_SIZE);
}

static void add(struct reuse *reuse, int home, int tree) {
  struct sibling *s = &reuse->siblings[reuse->count++];
  walk_begin(&s->walk, tree);
  manifest_load(home, &s->manifest);
  s->by_hash = must(malloc((s->manifest.count + 1) * sizeof *s->by_hash));
  for (size_t i = 0; i < s->manifest.count; i++)
    if (s->manifest.entries[i].kind == ENTRY_FILE)
      s->by_hash[s->count++].entry = &s->manifest.entries[i];
  qsort(s->by_hash, s->count, sizeof *s->by_hash, compare_hash);
}

static struct reuse *open_siblings(const struct folder_store *store) {
  struct reuse *reuse = must(calloc(1, sizeof *reuse));
  int number = 0, home, tree;
  while (reuse->count < SIBLINGS && (home = store_sibling(store, &number, &tree)) >= 0) {
    add(reuse, home, tree);
    close(home);
  }
  return reuse;
}

static const struct entry *find(const struct sibling *s, const struct entry *e) {
  if (s->count == 0) return NULL;
  struct known wanted = {e};
  const struct known *found =
      bsearch(&wanted, s->by_hash, s->count, sizeof *s->by_hash, compare_hash);
  return found && found->entry->size == e->size ? found->entry : NULL;
}

bool reuse_has(struct reuse **reuse, const struct folder_store *store, const struct entry *e) {
  if (!*reuse) *reuse = open_siblings(store);
  for (size_t i = 0; i < (*reuse)->count; i++)
    if (find(&(*reuse)->siblings[i], e)) return true;
  return false;
}

/* Hashed on the way: the contents count, not what somebody says of them. */
static bool copy_bytes(int from, int to, const struct entry *e) {
  struct sha256 hash;
  uint8_t bytes[64 << 10], digest[SHA256_SIZE];
  uint64_t left = e->size;
  if (left > COPY_MAX) return false;
  sha256_begin(&hash);
  while (left > 0) {
    ssize_t got = read(from, bytes, left < sizeof bytes ? (size_t)left : sizeof bytes);
    if (got <= 0 || write(to, bytes, (size_t)got) != got) return false;
    sha256_add(&hash, bytes, (size_t)got);
    left -= (uint64_t)got;
  }
  sha256_end(&hash, digest);
  return memcmp(digest, e->hash, sizeof digest) == 0;
}

static bool copy(struct sibling *s, const struct entry *e, int file) {
  const struct entry *known = find(s, e);
  struct stat before, after;
  const char *name;
  int parent = known ? walk_parent(&s->walk, known->path, &name) : -1;
  if (parent < 0) return false;
  int from = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (from < 0) return false;
  bool done = fstat(from, &before) == 0 && S_ISREG(before.st_mode) &&
              (uint64_t)before.st_size == e->size && stamp_same(&known->stamp, &before);
  if (done && ioctl(file, FICLONE, from) == 0)
    done = fstat(from, &after) == 0 && stamp_same(&known->stamp, &after);
  else
    done = done && copy_bytes(from, file, e);
  close(from);
  return done;
}

bool reuse_copy(struct reuse *reuse, const struct entry *e, int file) {
  for (size_t i = 0; i < reuse->count; i++) {
    if (copy(&reuse->siblings[i], e, file)) return true;
    if (ftruncate(file, 0) < 0 || lseek(file, 0, SEEK_SET) < 0) return false;
  }
  return false;
}

void reuse_free(struct reuse *reuse) {
  if (!reuse) return;
  for (size_t i = 0; i < reuse->count; i++) {
    struct sibling *s = &reuse->siblings[i];
    close(s->walk.root);
    walk_end(&s->walk);
    manifest_free(&s->manifest);
    free(s->by_hash);
  }
  free(reuse);
}
