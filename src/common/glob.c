/*
 * Matches paths with patterns. The parts of a pattern are the states of an automaton that takes the parts of
 * a path, all states at once in the bits of a word: the time is bounded, whatever the pattern.
 */
#include "glob.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct part {
  const char *text;
  size_t size;
};

/* The part that starts at *at, which moves behind it and its slash; false at the end. */
static bool next_part(const char **at, struct part *part) {
  if (!**at) return false;
  part->text = *at;
  part->size = strcspn(*at, "/");
  *at += part->size;
  if (**at) ++*at;
  return true;
}

/* The class that starts at p ("[…"), on one byte; *size is its length, 0 if it is not closed. */
static bool in_class(const char *p, size_t left, unsigned char byte, size_t *size) {
  size_t i = 1;
  bool inverted = i < left && (p[i] == '!' || p[i] == '^'), found = false;
  if (inverted) i++;
  for (size_t first = i; i < left && (p[i] != ']' || i == first); i++) {
    unsigned char from = (unsigned char)p[i], to = from;
    if (i + 2 < left && p[i + 1] == '-' && p[i + 2] != ']') {
      to = (unsigned char)p[i + 2];
      i += 2;
    }
    if (from <= byte && byte <= to) found = true;
  }
  *size = i < left ? i + 1 : 0;
  return found != inverted;
}

/* One part against one part. After a mismatch only the last star can give way. */
static bool part_matches(struct part pattern, struct part name) {
  size_t p = 0, n = 0, star = SIZE_MAX, star_at = 0;
  while (n < name.size) {
    size_t size = 1;
    bool same = false;
    if (p < pattern.size && pattern.text[p] == '*') {
      star = p++;
      star_at = n;
      continue;
    }
    if (p < pattern.size && pattern.text[p] == '[')
      same = in_class(pattern.text + p, pattern.size - p, (unsigned char)name.text[n], &size);
    if (size == 0)
      same = name.text[n] == '[', size = 1; /* never closed: a bracket */
    else if (p < pattern.size && pattern.text[p] != '[')
      same = pattern.text[p] == '?' || pattern.text[p] == name.text[n];
    if (p < pattern.size && same) {
      p += size;
      n++;
    } else if (star != SIZE_MAX) {
      p = star + 1;
      n = ++star_at;
    } else {
      return false;
    }
  }
  while (p < pattern.size && pattern.text[p] == '*') p++;
  return p == pattern.size;
}

static bool is_any(struct part part) { return part.size == 2 && memcmp(part.text, "**", 2) == 0; }

static size_t split(const char *pattern, struct part parts[GLOB_PARTS]) {
  size_t count = 0;
  while (count < GLOB_PARTS && next_part(&pattern, &parts[count])) count++;
  return count;
}

/* Bit i: the next part of the path meets part i of the pattern. Bit `count`: it has matched. */
static uint64_t run(const struct part *parts, size_t count, const char *path) {
  struct part name;
  uint64_t states = 1;
  for (bool more = true; more;) {
    for (size_t i = 0; i < count; i++) /* ** may stand for nothing */
      if (states >> i & 1 && is_any(parts[i])) states |= (uint64_t)1 << (i + 1);
    more = next_part(&path, &name);
    if (!more) break;
    uint64_t next = 0;
    for (size_t i = 0; i < count; i++) {
      if (!(states >> i & 1)) continue;
      if (is_any(parts[i]))
        next |= (uint64_t)1 << i;
      else if (part_matches(parts[i], name))
        next |= (uint64_t)1 << (i + 1);
    }
    states = next;
  }
  return states;
}

bool glob_valid(const char *pattern) {
  struct part part;
  size_t count = 0;
  if (!*pattern || *pattern == '/') return false;
  for (const char *at = pattern; next_part(&at, &part); count++)
    if (part.size == 0 || (part.size == 2 && memcmp(part.text, "..", 2) == 0)) return false;
  return count <= GLOB_PARTS;
}

bool glob_matches(const char *pattern, const char *path) {
  struct part parts[GLOB_PARTS];
  size_t count = split(pattern, parts);
  return run(parts, count, path) >> count & 1;
}

bool glob_reaches(const char *pattern, const char *folder) {
  struct part parts[GLOB_PARTS];
  size_t count = split(pattern, parts);
  return (run(parts, count, folder) & (((uint64_t)1 << count) - 1)) != 0;
}
