/* Encoded photographs to pixels, by libjpeg-turbo and libpng. */
#include "common.h"

#include <stdlib.h>

/* The few calls that are used, so that no header for the phone's processor is needed to build this.
 * Both interfaces are stable: TurboJPEG since 1.2, png_image since libpng 1.6. */
typedef void *Jpeg;
Jpeg tjInitDecompress(void);
int tjDecompressHeader3(Jpeg, const unsigned char *, unsigned long, int *, int *, int *, int *);
int tjDecompress2(Jpeg, const unsigned char *, unsigned long, unsigned char *, int, int, int, int, int);
char *tjGetErrorStr2(Jpeg);
int tjDestroy(Jpeg);

typedef struct {
  void *opaque;
  uint32_t version, width, height, format, flags, colormap_entries, warning_or_error;
  char message[64];
} Png;
int png_image_begin_read_from_memory(Png *, const void *, size_t);
int png_image_finish_read(Png *, const void *, void *, int32_t, void *);

enum { JPEG_RGB = 0, JPEG_ACCURATE = 4096, PNG_VERSION = 1, PNG_RGB = 2 };
/* As many pixels as the reference runner decodes. */
static const double MOST_PIXELS = 50e6;

static Picture picture(int width, int height) {
  if (width < 1 || height < 1 || (double)width * height > MOST_PIXELS)
    die("the photograph has %d x %d pixels, which is too many or none", width, height);
  return (Picture){width, height, allocate((size_t)width * height * 3)};
}

static Picture decode_jpeg(const uint8_t *bytes, size_t count) {
  int width = 0, height = 0, subsampling, colours;
  Jpeg jpeg = tjInitDecompress();
  if (!jpeg || tjDecompressHeader3(jpeg, bytes, count, &width, &height, &subsampling, &colours))
    die("the photograph is no JPEG file: %s", tjGetErrorStr2(jpeg));
  Picture result = picture(width, height);
  if (tjDecompress2(jpeg, bytes, count, result.pixels, width, 3 * width, height, JPEG_RGB, JPEG_ACCURATE))
    die("the photograph is damaged: %s", tjGetErrorStr2(jpeg));
  tjDestroy(jpeg);
  return result;
}

static Picture decode_png(const uint8_t *bytes, size_t count) {
  Png png = {.version = PNG_VERSION};
  if (!png_image_begin_read_from_memory(&png, bytes, count))
    die("the photograph is no PNG file: %s", png.message);
  Picture result = picture((int)png.width, (int)png.height);
  png.format = PNG_RGB;
  if (!png_image_finish_read(&png, NULL, result.pixels, 0, NULL))
    die("the photograph is damaged: %s", png.message);
  return result;
}

Picture decode(const uint8_t *bytes, size_t count) {
  return bytes[0] == 0xff ? decode_jpeg(bytes, count) : decode_png(bytes, count);
}
