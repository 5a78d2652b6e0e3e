package mien.pipeline

import android.graphics.Bitmap
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** Pixels of 8-bit sRGB, row by row: [height, width, 3]. A photograph must be upright. */
class Photograph(val width: Int, val height: Int, val pixels: ByteArray) {
    init {
        require(width > 0 && height > 0 && pixels.size.toLong() == 3L * width * height) {
            "${pixels.size} bytes are not $width x $height pixels of RGB"
        }
    }

    /** The picture turned counter-clockwise by a quarter. */
    fun turned(): Photograph {
        val made = ByteArray(pixels.size)
        for (row in 0 until width) {
            for (column in 0 until height) {
                pixels.copyInto(made, 3 * (row * height + column), 3 * (column * width + width - 1 - row), 3 * (column * width + width - row))
            }
        }
        return Photograph(height, width, made)
    }

    companion object {
        /**
         * Take the pixels of a bitmap. Turn it upright by its EXIF orientation before.
         *
         * @throws IllegalArgumentException it may be transparent; draw it over white before
         */
        fun of(bitmap: Bitmap): Photograph {
            require(!bitmap.hasAlpha()) { "the bitmap may be transparent; draw it over white before" }
            val colours = IntArray(bitmap.width * bitmap.height)
            bitmap.getPixels(colours, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
            val pixels = ByteArray(3 * colours.size)
            for ((place, colour) in colours.withIndex()) {
                for (number in 0 until 3) pixels[3 * place + number] = (colour shr 16 - 8 * number).toByte()
            }
            return Photograph(bitmap.width, bitmap.height, pixels)
        }
    }
}

/** Takes (x, y) to (a x + b y + c, d x + e y + f); the first pixel's centre is at (0, 0). */
internal class Affine(val a: Double, val b: Double, val c: Double, val d: Double, val e: Double, val f: Double) {
    val determinant = a * e - b * d
    val inverse by lazy {
        Affine(
            e / determinant, -b / determinant, (b * f - c * e) / determinant,
            -d / determinant, a / determinant, (c * d - a * f) / determinant,
        )
    }

    fun x(x: Double, y: Double) = a * x + b * y + c

    fun y(x: Double, y: Double) = d * x + e * y + f
}

/** Two ways of counting an exact half differ in a last bit and must not round apart. */
internal const val BIT = 1e-6
private const val HALF = 0.5 + BIT

/** Where samples lie along both axes, among boxes of so many pixels a side: clipped to those that are there. */
private class Boxes(photograph: Photograph, private val back: Affine, val side: Int) {
    val lastX = photograph.width / side - 1
    val lastY = photograph.height / side - 1

    fun x(u: Int, v: Int) = clip(back.x(u.toDouble(), v.toDouble()), lastX)

    fun y(u: Int, v: Int) = clip(back.y(u.toDouble(), v.toDouble()), lastY)

    private fun clip(place: Double, last: Int) = ((place + 0.5) / side - 0.5).coerceIn(0.0, last.toDouble())
}

/**
 * Cut size x size pixels through `matrix`, which takes pixels of the photograph to the cut's: reduced by a box filter
 * of whole size, sampled bilinearly with the border repeated, rounded half up.
 */
internal fun Photograph.cut(matrix: Affine, size: Int): Photograph {
    val boxes = Boxes(this, matrix.inverse, reduction(matrix))
    val corners = listOf(0 to 0, 0 to size - 1, size - 1 to 0, size - 1 to size - 1)
    // The map is affine, so that nothing lies outside of what the corners span.
    val lowX = corners.minOf { (u, v) -> floor(boxes.x(u, v)).toInt() }
    val lowY = corners.minOf { (u, v) -> floor(boxes.y(u, v)).toInt() }
    val highX = min(corners.maxOf { (u, v) -> floor(boxes.x(u, v)).toInt() } + 1, boxes.lastX)
    val highY = min(corners.maxOf { (u, v) -> floor(boxes.y(u, v)).toInt() } + 1, boxes.lastY)
    val columns = highX - lowX + 1
    val reduced = reduced(lowX..highX, lowY..highY, boxes.side)
    val made = ByteArray(3 * size * size)
    for (v in 0 until size) {
        for (u in 0 until size) {
            val x = boxes.x(u, v)
            val y = boxes.y(u, v)
            val left = floor(x).toInt()
            val upper = floor(y).toInt()
            val right = min(left + 1, boxes.lastX) - lowX
            val lower = min(upper + 1, boxes.lastY) - lowY
            for (colour in 0 until 3) {
                fun value(row: Int, column: Int) = reduced[3 * (row * columns + column) + colour]
                val top = mix(value(upper - lowY, left - lowX), value(upper - lowY, right), x - left)
                val bottom = mix(value(lower, left - lowX), value(lower, right), x - left)
                made[3 * (v * size + u) + colour] = floor(mix(top, bottom, y - upper) + HALF).toInt().toByte()
            }
        }
    }
    return Photograph(size, size, made)
}

/** The side in pixels of the box filter that comes before sampling through `matrix`. */
internal fun Photograph.reduction(matrix: Affine): Int {
    val zoom = 1 / sqrt(abs(matrix.determinant)) + BIT
    return max(1, min(zoom.toInt(), min(width, height)))
}

private fun mix(a: Double, b: Double, share: Double) = a + (b - a) * share

/** Average boxes of `side` x `side` pixels, those of some columns and rows: [rows, columns, 3]. */
private fun Photograph.reduced(columns: IntRange, rows: IntRange, side: Int): DoubleArray {
    val wide = columns.last - columns.first + 1
    val sums = DoubleArray(3 * wide * (rows.last - rows.first + 1))
    for (y in rows.first * side until (rows.last + 1) * side) {
        val line = 3 * wide * (y / side - rows.first)
        for (x in columns.first * side until (columns.last + 1) * side) {
            val place = line + 3 * (x / side - columns.first)
            for (colour in 0 until 3) sums[place + colour] += (pixels[3 * (y * width + x) + colour].toInt() and 0xff).toDouble()
        }
    }
    for (place in sums.indices) sums[place] /= side.toDouble() * side
    return sums
}
