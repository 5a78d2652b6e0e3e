/* What can be measured of a photograph and of the face that was found: see docs/refusals.md. */
#include "quality.h"

#include <math.h>

static const double LUMA[3] = {0.299, 0.587, 0.114};
static const double PI = 3.14159265358979323846;
/* A face of one colour has no edges, but for last bits. */
static const double FLAT = 1e-6;
/* Of the face, in pixels, by which the patches about eyes and mouth are measured. */
static const double EYES_APART = 76, BIT = 1e-6;
enum { BLACK = 12, BURNT = 250 };

static double brightness(const uint8_t *pixel) {
  return pixel[0] * LUMA[0] + pixel[1] * LUMA[1] + pixel[2] * LUMA[2];
}

static double distance(const double *one, const double *other) {
  return hypot(one[0] - other[0], one[1] - other[1]);
}

static int inside(const Region *region, int column, int row) {
  return pow(fabs(column - region->centre[0]) / region->radii[0], region->exponent) +
             pow(fabs(row - region->centre[1]) / region->radii[1], region->exponent) <=
         1;
}

/* Whether a pixel of the aligned face comes from beyond the border of the photograph. */
static int beyond(const FoundFace *face, int column, int row) {
  const double *m = face->matrix;
  double det = m[0] * m[4] - m[1] * m[3], right = column - m[2], down = row - m[5];
  double x = (m[4] * right - m[1] * down) / det, y = (m[0] * down - m[3] * right) / det;
  return x < -0.5 || y < -0.5 || x > face->width - 0.5 || y > face->height - 0.5;
}

static double laplacian(const uint8_t *pixel, int size) {
  return 4 * brightness(pixel) - brightness(pixel - 3) - brightness(pixel + 3) - brightness(pixel - 3 * size) -
         brightness(pixel + 3 * size);
}

static void measure_light(const FoundFace *face, const Region *region, double *values) {
  double sum = 0, squares = 0, change = 0;
  int count = 0, edges = 0, outside = 0, black = 0, burnt = 0, last = face->size - 1;
  for (int row = 0; row < face->size; row++)
    for (int column = 0; column < face->size; column++) {
      if (!inside(region, column, row)) continue;
      const uint8_t *pixel = face->pixels + 3 * (row * face->size + column);
      sum += brightness(pixel);
      outside += beyond(face, column, row);
      black += pixel[0] <= BLACK && pixel[1] <= BLACK && pixel[2] <= BLACK;
      burnt += pixel[0] >= BURNT && pixel[1] >= BURNT && pixel[2] >= BURNT;
      count++;
      if (row == 0 || column == 0 || row == last || column == last) continue;
      change += fabs(laplacian(pixel, face->size));
      edges++;
    }
  values[BRIGHTNESS] = sum / count;
  for (int row = 0; row < face->size; row++)
    for (int column = 0; column < face->size; column++)
      if (inside(region, column, row)) {
        double apart = brightness(face->pixels + 3 * (row * face->size + column)) - values[BRIGHTNESS];
        squares += apart * apart;
      }
  values[CONTRAST] = sqrt(squares / count);
  values[SHARPNESS] = values[CONTRAST] > FLAT ? change / edges / values[CONTRAST] : 0;
  values[OUTSIDE] = (double)outside / count;
  values[BLACK_SHARE] = (double)black / count;
  values[BURNT_SHARE] = (double)burnt / count;
}

/* Mean and standard deviation of the brightness about a place of the template; lengths in units of ``unit``. */
static void patch(const FoundFace *face, const double *place, const double *from, const double *half, double unit,
                  double *mean, double *deviation) {
  double at[2], reach[2], sum = 0, squares = 0;
  int count = 0;
  for (int axis = 0; axis < 2; axis++) {
    at[axis] = fmin(fmax(place[axis] + from[axis] * unit, 0), face->size - 1);
    reach[axis] = fmax(half[axis] * unit, 0.5) + BIT;
  }
  for (int pass = 0; pass < 2; pass++) {
    for (int row = 0; row < face->size; row++)
      for (int column = 0; column < face->size; column++) {
        if (fabs(column - at[0]) > reach[0] || fabs(row - at[1]) > reach[1]) continue;
        double light = brightness(face->pixels + 3 * (row * face->size + column));
        if (pass) squares += (light - *mean) * (light - *mean);
        else sum += light, count++;
      }
    *mean = sum / count;
  }
  *deviation = sqrt(squares / count);
}

static void measure_shown(const FoundFace *face, const double template_[POINTS][2], double *values) {
  double unit = distance(template_[0], template_[1]) / EYES_APART, mean, deviation, eyes;
  double beneath = 0, skin = 0, middle[2];
  for (int eye = 0; eye < 2; eye++) {
    patch(face, template_[eye], (double[]){0, 17}, (double[]){12, 5}, unit, &mean, &deviation);
    beneath = fmax(beneath, mean);
    patch(face, template_[eye], (double[]){eye ? 6 : -6, 50}, (double[]){8, 8}, unit, &mean, &deviation);
    skin += mean / 3;
    middle[eye] = (template_[0][eye] + template_[1][eye]) / 2;
  }
  patch(face, template_[2], (double[]){0, -15}, (double[]){8, 10}, unit, &mean, &deviation);
  skin += mean / 3;
  patch(face, middle, (double[]){0, 0}, (double[]){48, 30}, unit, &mean, &eyes);
  patch(face, template_[3], (double[]){0, 3}, (double[]){40, 14}, unit, &mean, &deviation);
  values[EYES_SHOWN] = beneath / fmax(skin, 1);
  values[MOUTH_SHOWN] = eyes > FLAT ? deviation / eyes : 0;
}

void measure_quality(const FoundFace *face, const double template_[POINTS][2], const Region *region,
                     double values[MEASURES]) {
  const double *m = face->matrix;
  double placed[KEYPOINTS][2], squares = 0;
  for (int n = 0; n < KEYPOINTS; n++) {
    const double *at = face->keypoints[n];
    placed[n][0] = m[0] * at[0] + m[1] * at[1] + m[2];
    placed[n][1] = m[3] * at[0] + m[4] * at[1] + m[5];
  }
  for (int n = 0; n < POINTS; n++) squares += pow(distance(placed[n], template_[n]), 2);
  /* Right eye, left eye, nose, mouth, right ear, left ear. */
  double nose = placed[2][0], right = placed[4][0], left = placed[5][0];
  values[DETECTOR_SCORE] = face->score;
  values[FACES] = face->faces;
  values[EYE_DISTANCE] = distance(face->keypoints[0], face->keypoints[1]);
  values[ROLL] = fabs(atan2(m[3], m[0])) * 180 / PI;
  values[TURN] = fabs((nose - right) - (left - nose)) / fmax(left - right, 1);
  values[MISFIT] = sqrt(squares / POINTS) / distance(template_[0], template_[1]);
  measure_shown(face, template_, values);
  measure_light(face, region, values);
}

Verdict judge_measure(double value, const Limit *limit) {
  /* What is not a number is within no limit. */
  if (!isnan(limit->refuse) && !(limit->above ? value <= limit->refuse : value >= limit->refuse)) return REFUSE;
  if (!isnan(limit->note) && !(limit->above ? value <= limit->note : value >= limit->note)) return NOTE;
  return OK;
}
