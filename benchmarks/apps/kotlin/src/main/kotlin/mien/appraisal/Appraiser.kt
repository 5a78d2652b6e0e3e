package mien.appraisal

import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.gpu.CompatibilityList
import org.tensorflow.lite.gpu.GpuDelegate

/** What computes. */
enum class ComputeUnit {
    CPU,
    GPU;

    /** Whether this phone has it, by LiteRT's list of GPUs that are known to work. */
    fun isAvailable(): Boolean =
        this == CPU || CompatibilityList().use { it.isDelegateSupportedOnThisDevice }
}

/** The score of a face, 0 to 100, and its heatmap of 256 x 256 values, row by row, 0 where nothing is unusual. */
class Appraisal(val score: Float, val heatmap: FloatArray)

/**
 * The one graph of a bundle on one unit. It is not safe for several threads, and a GPU's must be used on the
 * thread that made it.
 *
 * @param model the bytes of `appraisal.tflite`, in a direct buffer
 * @throws IllegalArgumentException LiteRT cannot load the model, or the unit refuses its graph
 */
class Appraiser(model: ByteBuffer, unit: ComputeUnit, threads: Int = 1) : Closeable {
    private val gpu = if (unit == ComputeUnit.GPU) GpuDelegate() else null
    private val interpreter = load(model, threads)
    private val face = room(FACE)
    private val score = room(SCORE)
    private val heatmap = room(HEATMAP)

    /**
     * Rate an aligned face of 256 x 256 pixels: RGB, 3 bytes a pixel, row by row.
     *
     * @throws IllegalArgumentException there are more bytes or fewer
     */
    fun rate(pixels: ByteArray): Appraisal {
        require(pixels.size == face.capacity()) { "a face has ${face.capacity()} bytes, got ${pixels.size}" }
        for (buffer in listOf(face, score, heatmap)) buffer.rewind()
        face.put(pixels).rewind()
        interpreter.runSignature(mapOf(FACE to face), mapOf(SCORE to score, HEATMAP to heatmap), SIGNATURE)
        return Appraisal(floats(score)[0], floats(heatmap))
    }

    override fun close() {
        interpreter.close()
        gpu?.close()
    }

    private fun load(model: ByteBuffer, threads: Int): Interpreter {
        val options = Interpreter.Options().setNumThreads(threads)
        gpu?.let { options.addDelegate(it) }
        try {
            return Interpreter(model, options)
        } catch (error: IllegalArgumentException) {
            gpu?.close()
            throw error
        }
    }

    /** Memory for a tensor, found by its name in the signature and not by its number. */
    private fun room(name: String): ByteBuffer {
        val tensor =
            if (name in interpreter.getSignatureInputs(SIGNATURE)) {
                interpreter.getInputTensorFromSignature(name, SIGNATURE)
            } else {
                interpreter.getOutputTensorFromSignature(name, SIGNATURE)
            }
        return ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())
    }

    private fun floats(buffer: ByteBuffer): FloatArray {
        buffer.rewind()
        return FloatArray(buffer.capacity() / Float.SIZE_BYTES).also { buffer.asFloatBuffer().get(it) }
    }

    private companion object {
        const val SIGNATURE = "serving_default"
        const val FACE = "face"
        const val SCORE = "score"
        const val HEATMAP = "heatmap"
    }
}
