/* Which photographs the decoders read as the reference runner does. They know neither orientation nor transparency
 * nor colour profiles, apply a PNG's gAMA, and take 16 bits for linear light: such a file is refused. */
#include "common.h"

#include <string.h>

enum { ORIENTATION = 0x0112, UPRIGHT = 1, ENTRY = 12 };
/* Colour types of PNG (third edition, 11.2.1). */
enum { GREY = 0, RGB = 2 };

typedef struct {
  const uint8_t *at;
  size_t count;
} Bytes;

/* A number of up to four bytes, the highest first or the lowest; 0 where there are not so many. */
static uint32_t number(Bytes data, size_t at, size_t size, int lowest_first) {
  uint32_t value = 0;
  if (at > data.count || data.count - at < size) return 0;
  for (size_t n = 0; n < size; n++) value = value << 8 | data.at[at + (lowest_first ? size - 1 - n : n)];
  return value;
}

static int begins(Bytes data, const char *word, size_t length) {
  return data.count >= length && !memcmp(data.at, word, length);
}

/* Tell whether EXIF data, which begin with the header of TIFF, say that the picture lies on a side (Exif 2.32, 4.6.4 A). */
static int is_turned(Bytes exif) {
  int lowest_first = begins(exif, "II", 2);
  size_t directory = number(exif, 4, 4, lowest_first);
  uint32_t entries = number(exif, directory, 2, lowest_first);
  for (size_t n = 0; n < entries; n++) {
    size_t entry = directory + 2 + ENTRY * n;
    if (number(exif, entry, 2, lowest_first) == ORIENTATION)
      return number(exif, entry + 8, 2, lowest_first) != UPRIGHT;
  }
  return 0;
}

static Bytes part(Bytes data, size_t at, size_t count) {
  if (at > data.count) at = data.count;
  return (Bytes){data.at + at, count < data.count - at ? count : data.count - at};
}

/* The segments of a JPEG before its coded data (ITU T.81, B.1.1.4). */
static const char *unreadable_jpeg(Bytes file, int profile_is_srgb) {
  for (size_t at = 2; at + 4 <= file.count && file.at[at] == 0xff && file.at[at + 1] != 0xda;) {
    uint8_t marker = file.at[at + 1];
    size_t length = number(file, at + 2, 2, 0);
    Bytes segment = part(file, at + 4, length < 2 ? 0 : length - 2);
    if (marker == 0xe1 && begins(segment, "Exif\0\0", 6) && is_turned(part(segment, 6, segment.count)))
      return "it is not upright";
    if (marker == 0xe2 && begins(segment, "ICC_PROFILE", 12) && !profile_is_srgb)
      return "nobody has found its colour profile to be sRGB";
    if ((marker == 0xc0 || marker == 0xc1 || marker == 0xc2) && segment.count > 5 && segment.at[5] == 4)
      return "it is not plain RGB or grey";
    at += marker == 0xff ? 1 : 2 + (length < 2 ? 2 : length);
  }
  return NULL;
}

/* The chunks of a PNG before its pixels, and behind the signature of eight bytes. */
static const char *unreadable_png(Bytes file, int profile_is_srgb) {
  int gamma = 0, srgb = 0;
  for (size_t at = 8; at + 8 <= file.count;) {
    size_t length = number(file, at, 4, 0);
    Bytes name = part(file, at + 4, 4), chunk = part(file, at + 8, length);
    if (begins(name, "IDAT", 4)) break;
    if (begins(name, "IHDR", 4)) {
      if (number(chunk, 8, 1, 0) == 16) return "it has 16 bits";
      if (number(chunk, 9, 1, 0) != GREY && number(chunk, 9, 1, 0) != RGB) return "it is not plain RGB or grey";
    }
    if (begins(name, "tRNS", 4)) return "it is not plain RGB or grey";
    if (begins(name, "eXIf", 4) && is_turned(chunk)) return "it is not upright";
    if (begins(name, "iCCP", 4) && !profile_is_srgb) return "nobody has found its colour profile to be sRGB";
    gamma |= begins(name, "gAMA", 4);
    srgb |= begins(name, "sRGB", 4);
    at += 12 + length;
  }
  return gamma && !srgb ? "it has a gamma of its own" : NULL;
}

const char *unreadable(const uint8_t *bytes, size_t count, int profile_is_srgb) {
  Bytes file = {bytes, count};
  if (begins(file, "\xff\xd8\xff", 3)) return unreadable_jpeg(file, profile_is_srgb);
  if (begins(file, "\x89PNG\r\n\x1a\n", 8)) return unreadable_png(file, profile_is_srgb);
  return "it is neither JPEG nor PNG";
}
