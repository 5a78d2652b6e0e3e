package mien.pipeline

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject

/** The front of the kind `resize`: a tensor [1, C, height, width] of float32, resized and normalised. */
internal class ResizeFront(rule: JSONObject) {
    private val height = rule.getJSONArray("size").getInt(0)
    private val width = rule.getJSONArray("size").getInt(1)
    private val mean = floats(rule, "mean")
    private val std = floats(rule, "std")

    /** Make the values of the tensor, channels second. */
    fun values(photograph: Photograph): DoubleArray {
        val channels = mean.size
        val pixels = if (channels == 1) luma(photograph) else IntArray(photograph.pixels.size) { photograph.pixels[it].toInt() and 0xff }
        val across = resized(pixels, photograph.height, photograph.width, width, channels)
        // Columns are rows of the picture whose pixels are whole lines.
        val made = resized(across, 1, photograph.height, height, width * channels)
        return DoubleArray(made.size) {
            val channel = it / (height * width)
            val pixel = made[it % (height * width) * channels + channel].toFloat()
            ((pixel / 255f - mean[channel]) / std[channel]).toDouble()
        }
    }

    /** Luma by ITU-R BT.601. */
    private fun luma(photograph: Photograph) =
        IntArray(photograph.width * photograph.height) {
            fun colour(number: Int) = photograph.pixels[3 * it + number].toInt() and 0xff
            (19595 * colour(0) + 38470 * colour(1) + 7471 * colour(2) + 32768) shr 16
        }

    /**
     * Resize the second axis of [rows, length, numbers] to `goal` by a triangle filter that widens where it
     * reduces. Weights are whole numbers of 2^-22, as in Pillow, and results are rounded to 8 bits.
     */
    private fun resized(values: IntArray, rows: Int, length: Int, goal: Int, numbers: Int): IntArray {
        val made = IntArray(rows * goal * numbers)
        for (place in 0 until goal) {
            val (first, weights) = weights(place, length, goal)
            for (row in 0 until rows) {
                for (number in 0 until numbers) {
                    var sum = 1 shl (BITS - 1)
                    for (k in weights.indices) sum += weights[k] * values[(row * length + first + k) * numbers + number]
                    made[(row * goal + place) * numbers + number] = (sum shr BITS).coerceIn(0, 255)
                }
            }
        }
        return made
    }

    /** The first number that counts for a place, and the weights of those from there on. */
    private fun weights(place: Int, length: Int, goal: Int): Pair<Int, IntArray> {
        val scale = length.toDouble() / goal
        val reach = max(scale, 1.0)
        val centre = (place + 0.5) * scale
        val first = max((centre - reach + 0.5).toInt(), 0)
        val last = min((centre + reach + 0.5).toInt(), length)
        val shares = DoubleArray(last - first) { max(1 - abs((it + first - centre + 0.5) * (1 / reach)), 0.0) }
        val total = shares.sum()
        return first to IntArray(shares.size) { (0.5 + shares[it] / total * (1 shl BITS)).toInt() }
    }

    private fun floats(rule: JSONObject, key: String) =
        rule.getJSONArray(key).let { array -> FloatArray(array.length()) { array.getDouble(it).toFloat() } }

    private companion object {
        const val BITS = 22
    }
}
