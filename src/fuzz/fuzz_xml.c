/* Feeds any bytes to the XML parse. Its records must be well-formed, its limits hold, and neither records nor
 * outcome may depend on how the bytes were cut into slices. */
#include <stdlib.h>
#include <string.h>

#include "xml/xml_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
  uint64_t hash;
  size_t records;
  bool failed;
};

static void check(bool holds) {
  if (!holds) abort();
}

static void mix(struct digest *digest, const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < size; i++) digest->hash = (digest->hash ^ at[i]) * 1099511628211u;
}

/* Takes the records that are ready, as xml.c does. */
static void take(struct parse *parse, struct digest *digest, size_t *depth) {
  size_t end = parse_ready(parse);
  check(end <= parse->queue_size && parse->queue_at <= end);
  while (parse->queue_at < end) {
    struct record record;
    memcpy(&record, parse->queue + parse->queue_at, sizeof record);
    size_t offset = parse->queue_at + sizeof record;
    uint32_t fixed[] = {record.kind, record.index, record.size};
    mix(digest, fixed, sizeof fixed);
    digest->records++;
    switch (record.kind) {
    case RECORD_START:
      check(++*depth <= parse->options.depth_limit && record.size <= CLEAN_ATTRIBUTES);
      mix(digest, record.name, strlen((const char *)record.name));
      for (uint32_t i = 0; i < record.size; i++) {
        struct attribute attribute;
        memcpy(&attribute, parse->queue + offset, sizeof attribute);
        offset += sizeof attribute;
        check(attribute.size <= end - offset);
        check(attribute.size <= 5 * parse->options.text_limit + 64);
        mix(digest, parse->queue + offset, attribute.size);
        offset += attribute.size;
      }
      break;
    case RECORD_TEXT: {
      check(*depth > 0 && record.size <= end - offset);
      check(record.size <= parse->options.text_limit + 64);
      mix(digest, parse->queue + offset, record.size);
      char *copy = malloc(record.size + 1);
      check(copy != NULL);
      memcpy(copy, parse->queue + offset, record.size);
      check(clean_restore(copy, record.size) <= record.size);
      free(copy);
      offset += record.size;
      break;
    }
    default:
      check(record.kind == RECORD_END && *depth > 0);
      --*depth;
      break;
    }
    check(offset <= end);
    parse->queue_at = offset;
  }
}

static struct digest run(const uint8_t *data, size_t size, size_t slice) {
  struct parse parse = {0};
  struct digest digest = {14695981039346656037u, 0, false};
  struct parse_options options = {.text_limit = 128, .element_limit = 2048, .depth_limit = 12};
  size_t depth = 0, at = 0;
  check(parse_open(&parse, &options) && parse_keep_whole(&parse, "testcase"));
  while (!parse.done) {
    size_t step = size - at < slice ? size - at : slice;
    parse_feed(&parse, (const char *)data + at, step, at + step == size);
    at += step;
    take(&parse, &digest, &depth);
  }
  digest.failed = parse.code != NULL;
  check(digest.failed || depth == 0);
  if (parse_unfinished(&parse)) check(parse.queue_at < parse.queue_size);
  parse_close(&parse);
  parse_close(&parse);
  return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  size_t slice = 1 + data[0] % 64;
  struct digest whole = run(data + 1, size - 1, CLEAN_SLICE);
  struct digest sliced = run(data + 1, size - 1, slice);
  check(whole.failed == sliced.failed);
  if (!whole.failed) check(whole.hash == sliced.hash && whole.records == sliced.records);
  return 0;
}
