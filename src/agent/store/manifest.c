/* Decodes, searches, saves and loads manifests. The decoders trust nothing: they are fuzzed. */
#define _GNU_SOURCE 1
#include "manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/relative_path.h"

enum { STATE_MAX = 128 << 20, ENTRY_MIN = 1 + 4 + 8 + 3 * 4 };

static const char magic[] = "runner manifest 1\n";

/* The next str, copied behind *text and ended there; its length on the wire pays for the NUL. */
static const char *keep(struct reader *r, char **text) {
  struct slice s = take_name(r);
  char *kept = memcpy(*text, s.bytes, s.size);
  kept[s.size] = 0;
  *text += s.size + 1;
  return kept;
}

static void take_entry(struct reader *r, struct entry *e, char **text) {
  e->kind = take_u8(r);
  e->mode = take_u32(r);
  e->size = take_u64(r);
  struct slice hash = take_str(r);
  e->path = keep(r, text);
  e->target = keep(r, text);
  memset(e->hash, 0, sizeof e->hash);
  bool is_file = e->kind == ENTRY_FILE, is_link = e->kind == ENTRY_LINK;
  if (!is_file && !is_link && e->kind != ENTRY_FOLDER) r->bad = true;
  if (hash.size != (is_file ? sizeof e->hash : 0)) r->bad = true;
  if ((*e->target != 0) != is_link || strlen(e->target) >= PATH_MAX) r->bad = true;
  if (e->mode > 0777 || (!is_file && e->size != 0)) r->bad = true;
  if (!r->bad && is_file) memcpy(e->hash, hash.bytes, sizeof e->hash);
}

static struct stamp take_stamp(struct reader *r) {
  struct stamp stamp;
  stamp.mtime_ns = take_u64(r);
  stamp.ctime_ns = take_u64(r);
  stamp.inode = take_u64(r);
  return stamp;
}

/* All entries to the end of r. Order and paths are right afterwards; the rest is the caller's. */
static const char *take_entries(struct reader *r, struct manifest *m, bool stamps) {
  size_t room = r->left / ENTRY_MIN + 1;
  m->entries = must(malloc(room * sizeof *m->entries));
  m->text = must(malloc(r->left + 2));
  char *text = m->text;
  for (m->count = 0; r->left > 0; m->count++) {
    struct entry *e = &m->entries[m->count];
    memset(e, 0, sizeof *e);
    take_entry(r, e, &text);
    if (stamps) e->stamp = take_stamp(r);
    if (r->bad) return "malformed ENTRIES";
    if (!path_is_plain(e->path)) return "ENTRIES with a path that leads out of the folder";
    if (m->count > 0 && strcmp(e[-1].path, e->path) >= 0) return "ENTRIES out of order";
  }
  return NULL;
}

static bool has_parent(const struct manifest *m, const struct entry *e) {
  const char *slash = strrchr(e->path, '/');
  char parent[PATH_MAX];
  if (!slash) return true;
  size_t size = (size_t)(slash - e->path);
  memcpy(parent, e->path, size);
  parent[size] = 0;
  const struct entry *found = manifest_find(m, parent);
  return found && found->kind == ENTRY_FOLDER;
}

const char *manifest_parse(const uint8_t *bytes, size_t size, struct manifest *m) {
  struct reader r = {.at = bytes, .left = size};
  struct sha256 hash;
  memset(m, 0, sizeof *m);
  const char *wrong = take_entries(&r, m, false);
  for (size_t i = 0; i < m->count && !wrong; i++)
    if (!has_parent(m, &m->entries[i])) wrong = "ENTRIES below something that is no folder";
  if (wrong) {
    manifest_free(m);
    return wrong;
  }
  sha256_begin(&hash);
  sha256_add(&hash, bytes, size);
  sha256_end(&hash, m->digest);
  return NULL;
}

static int compare_path(const void *path, const void *entry) {
  return strcmp(path, ((const struct entry *)entry)->path);
}

struct entry *manifest_find(const struct manifest *m, const char *path) {
  if (m->count == 0) return NULL;
  return bsearch(path, m->entries, m->count, sizeof *m->entries, compare_path);
}

void manifest_free(struct manifest *m) {
  free(m->entries);
  free(m->text);
  memset(m, 0, sizeof *m);
}

static uint64_t nanoseconds(struct timespec t) {
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct stamp stamp_of(const struct stat *st) {
  return (struct stamp){nanoseconds(st->st_mtim), nanoseconds(st->st_ctim), st->st_ino};
}

bool stamp_same(const struct stamp *stamp, const struct stat *st) {
  struct stamp now = stamp_of(st);
  return stamp->inode != 0 && stamp->inode == now.inode && stamp->mtime_ns == now.mtime_ns &&
         stamp->ctime_ns == now.ctime_ns;
}

/* magic, digest, entries with stamps; then the hash of all that. */
bool manifest_decode(const uint8_t *bytes, size_t size, struct manifest *m) {
  enum { HEAD = sizeof magic - 1 + SHA256_SIZE };
  uint8_t digest[SHA256_SIZE];
  struct sha256 hash;
  memset(m, 0, sizeof *m);
  if (size < HEAD + SHA256_SIZE || memcmp(bytes, magic, sizeof magic - 1) != 0) return false;
  size -= SHA256_SIZE;
  sha256_begin(&hash);
  sha256_add(&hash, bytes, size);
  sha256_end(&hash, digest);
  if (memcmp(digest, bytes + size, sizeof digest) != 0) return false;
  struct reader r = {.at = bytes + HEAD, .left = size - HEAD};
  if (take_entries(&r, m, true)) {
    manifest_free(m);
    return false;
  }
  memcpy(m->digest, bytes + sizeof magic - 1, sizeof m->digest);
  return true;
}

void manifest_load(int folder, struct manifest *m) {
  struct stat st;
  memset(m, 0, sizeof *m);
  int fd = openat(folder, "manifest", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= STATE_MAX) {
    size_t size = (size_t)st.st_size, held = 0;
    uint8_t *bytes = must(malloc(size + 1));
    for (ssize_t got; held < size && (got = read(fd, bytes + held, size - held)) > 0;)
      held += (size_t)got;
    manifest_decode(bytes, held, m);
    free(bytes);
  }
  close(fd);
}

static void put_entry(struct buffer *b, const struct entry *e) {
  put_u8(b, e->kind);
  put_u32(b, e->mode);
  put_u64(b, e->size);
  put_str(b, (const char *)e->hash, e->kind == ENTRY_FILE ? sizeof e->hash : 0);
  put_str(b, e->path, strlen(e->path));
  put_str(b, e->target, strlen(e->target));
  put_u64(b, e->stamp.mtime_ns);
  put_u64(b, e->stamp.ctime_ns);
  put_u64(b, e->stamp.inode);
}

static void put_both(struct buffer *b, const struct manifest *m, const struct manifest *also) {
  size_t other = 0, others = also ? also->count : 0;
  for (size_t i = 0; i < m->count; i++) {
    int order = 1;
    for (; other < others; other++) {
      order = strcmp(also->entries[other].path, m->entries[i].path);
      if (order >= 0) break;
      put_entry(b, &also->entries[other]);
    }
    if (other < others && order == 0) other++;
    put_entry(b, &m->entries[i]);
  }
  for (; other < others; other++) put_entry(b, &also->entries[other]);
}

int manifest_save(int folder, const struct manifest *m, const struct manifest *also) {
  static const uint8_t none[SHA256_SIZE];
  struct buffer b = {0};
  struct sha256 hash;
  uint8_t digest[SHA256_SIZE];
  put_bytes(&b, magic, sizeof magic - 1);
  put_bytes(&b, also ? none : m->digest, SHA256_SIZE);
  put_both(&b, m, also);
  sha256_begin(&hash);
  sha256_add(&hash, b.data, b.end);
  sha256_end(&hash, digest);
  put_bytes(&b, digest, sizeof digest);
  int error = 0;
  int fd =
      openat(folder, "manifest.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) error = errno;
  while (!error && b.head < b.end) {
    ssize_t put = write(fd, b.data + b.head, b.end - b.head);
    if (put < 0 && errno != EINTR) error = errno;
    if (put > 0) b.head += (size_t)put;
  }
  if (fd >= 0 && close(fd) < 0 && !error) error = errno;
  if (!error && renameat(folder, "manifest.new", folder, "manifest") < 0) error = errno;
  if (error) unlinkat(folder, "manifest.new", 0);
  buffer_free(&b);
  return error;
}
