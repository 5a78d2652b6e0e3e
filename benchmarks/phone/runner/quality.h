/* Whether a photograph can be rated: measures of it, in the order of docs/refusals.md's vectors. */
#ifndef MIEN_QUALITY_H
#define MIEN_QUALITY_H

#include "common.h"

enum { KEYPOINTS = 6 };

enum {
  DETECTOR_SCORE,
  FACES,
  EYE_DISTANCE,
  ROLL,
  TURN,
  MISFIT,
  OUTSIDE,
  EYES_SHOWN,
  MOUTH_SHOWN,
  SHARPNESS,
  CONTRAST,
  BRIGHTNESS,
  BLACK_SHARE,
  BURNT_SHARE,
  MEASURES
};

/* What alignment found in a photograph of width x height pixels: the aligned face, [size, size, 3], the matrix
 * (a, b, c, d, e, f) from the photograph to it, and keypoints (x, y) in pixels of the photograph. */
typedef struct {
  int width, height, size, faces;
  double score, matrix[6], keypoints[KEYPOINTS][2];
  const uint8_t *pixels;
} FoundFace;

/* The face region, a superellipse in pixels of the aligned face. */
typedef struct {
  double centre[2], radii[2], exponent;
} Region;

/* Beyond ``note`` a value gets a note, beyond ``refuse`` the photograph is not rated; NAN: never. */
typedef struct {
  int above;
  double note, refuse;
} Limit;

typedef enum { OK, NOTE, REFUSE } Verdict;

void measure_quality(const FoundFace *face, const double template_[POINTS][2], const Region *region,
                     double values[MEASURES]);
Verdict judge_measure(double value, const Limit *limit);

#endif
