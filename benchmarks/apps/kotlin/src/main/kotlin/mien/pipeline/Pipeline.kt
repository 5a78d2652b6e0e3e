package mien.pipeline

import java.io.Closeable
import java.nio.ByteBuffer
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

/**
 * One model on one unit. It is not safe for several threads, and a GPU's must be used on the thread that made it.
 *
 * @param file the bytes of the .tflite file, in a direct buffer
 * @throws IllegalArgumentException LiteRT cannot load the model, or the unit refuses its graph
 */
class Graph(val stage: Stage, private val file: ByteBuffer, unit: ComputeUnit, threads: Int) : Closeable {
    private val gpu = if (unit == ComputeUnit.GPU) GpuDelegate() else null
    private val interpreter = load(threads)
    private val inputs = stage.inputs.associateWith { room(it, interpreter.getSignatureInputs(SIGNATURE)) }
    private val outputs = stage.outputs.associateWith { room(it, interpreter.getSignatureOutputs(SIGNATURE)) }

    /**
     * Run the model on those of the `known` tensors that it reads.
     *
     * @return the tensors that it makes, by name; the next run overwrites them
     * @throws IllegalArgumentException a tensor that it reads is not known, or has more bytes or fewer
     */
    fun run(known: Map<String, ByteBuffer>): Map<String, ByteBuffer> {
        for ((name, buffer) in inputs) fill(name, buffer, known)
        for (buffer in outputs.values) buffer.rewind()
        interpreter.runSignature(inputs, outputs, SIGNATURE)
        return outputs
    }

    override fun close() {
        interpreter.close()
        gpu?.close()
    }

    private fun fill(name: String, buffer: ByteBuffer, known: Map<String, ByteBuffer>) {
        val value = requireNotNull(known[name]) { "${stage.name} reads $name, which is not known" }.duplicate()
        require(value.capacity() == buffer.capacity()) {
            "$name has ${buffer.capacity()} bytes in ${stage.name}, got ${value.capacity()}"
        }
        value.rewind()
        buffer.rewind()
        buffer.put(value).rewind()
    }

    private fun load(threads: Int): Interpreter {
        val options = Interpreter.Options().setNumThreads(threads)
        gpu?.let { options.addDelegate(it) }
        try {
            return Interpreter(file, options)
        } catch (error: IllegalArgumentException) {
            gpu?.close()
            throw error
        }
    }

    /** Memory for a tensor, found by its name in the signature and not by its number or size. */
    private fun room(name: String, names: Array<String>): ByteBuffer {
        require(name in names) { "${stage.name} has no tensor $name, it has ${names.joinToString()}" }
        val tensor =
            if (name in stage.inputs) {
                interpreter.getInputTensorFromSignature(name, SIGNATURE)
            } else {
                interpreter.getOutputTensorFromSignature(name, SIGNATURE)
            }
        return room(tensor.numBytes())
    }

    private companion object {
        const val SIGNATURE = "serving_default"
    }
}

/**
 * What a pipeline makes of its inputs.
 *
 * @param tensors the inputs and what the served models make, by name; the next run overwrites them
 * @param skipped the stages that were left out
 */
class Rating(val tensors: Map<String, ByteBuffer>, val skipped: List<String>)

/**
 * What the front makes of a photograph.
 *
 * @param inputs the pipeline's inputs by name
 * @param face the face that was found, null where the front looks for none
 * @param findings the measures of it, none where the pipeline refuses nothing
 */
class Prepared(val inputs: Map<String, ByteBuffer>, val face: AlignedFace?, val findings: List<Finding>)

/**
 * One variant of a bundle: a photograph to the inputs, and these to the result, as the manifest says.
 *
 * The front's models run on the processor always, and stages are left out there alone: it is what the export compared.
 *
 * @throws IllegalArgumentException LiteRT cannot load a model, or the unit refuses its graph
 * @throws BundleException a file is not the one that was exported
 */
class Pipeline(private val bundle: Bundle, variant: Variant, unit: ComputeUnit, threads: Int = 1) : Closeable {
    private val leavesEarly = variant.earlyExit && unit == ComputeUnit.CPU
    private val alone = if (leavesEarly && bundle.whole != null) bundle.stages.filter { it.skipWhen == null } else emptyList()
    private val loaded = open(variant, unit, threads)

    /** The loaded models that make the result of the inputs when no stage is left out. */
    val served: List<Graph> = bundle.served.map { loaded.getValue(it.name) }

    /**
     * Make the inputs of a photograph.
     *
     * @throws FaceException the front looks for a face, and there is none that is large enough
     * @throws BundleException the bundle has no front, or one that is not known
     */
    fun prepare(photograph: Photograph): Prepared {
        val front = bundle.front ?: throw BundleException("the pipeline takes tensors and no photograph")
        val input = bundle.tensor(front.outputs.single())
        if (front.kind == "resize") {
            return Prepared(mapOf(input.name to input.of(ResizeFront(front.rule).values(photograph))), null, emptyList())
        }
        if (front.kind != "face-alignment") throw BundleException("the front ${front.kind} is not known here")
        val rule = AlignmentRule(front.rule)
        val face = FaceFront(rule) { detect(front.models.single(), it) }.align(photograph)
        val findings = bundle.refusals?.let { Quality(it, rule.template).findings(face, photograph) } ?: emptyList()
        return Prepared(mapOf(input.name to direct(face.pixels)), face, findings)
    }

    /**
     * Rate the pipeline's inputs: without the stages that need not run, where the variant allows it.
     *
     * @param inputs by name, each with the bytes of a tensor: pictures row by row, channels last
     * @throws IllegalArgumentException an input is missing, or has more bytes or fewer
     * @throws BundleException an output is not finite, or outside of its range
     */
    fun rate(inputs: Map<String, ByteBuffer>): Rating =
        checked((if (leavesEarly) early(inputs) else null) ?: full(inputs))

    /** Rate the pipeline's inputs like `rate`, and leave no stage out: the same bits, or the variant is damaged. */
    fun rateInFull(inputs: Map<String, ByteBuffer>): Rating = checked(full(inputs))

    override fun close() = loaded.values.forEach { it.close() }

    private fun full(inputs: Map<String, ByteBuffer>): Rating {
        val known = inputs.toMutableMap()
        for (graph in served) known += graph.run(known)
        return Rating(known, emptyList())
    }

    private fun checked(rating: Rating): Rating {
        for (name in bundle.served.last().outputs) bundle.tensor(name).check(rating.tensors.getValue(name))
        return rating
    }

    /** Run the stages; null where one must run for which there is the end-to-end model. */
    private fun early(inputs: Map<String, ByteBuffer>): Rating? {
        val known = inputs.toMutableMap()
        val skipped = mutableListOf<String>()
        for (stage in bundle.stages) {
            val made = outputsWithout(stage, known)
            if (made != null) skipped += stage.name
            known += made ?: (loaded[stage.name] ?: return null).run(known)
        }
        val names = inputs.keys + bundle.served.flatMap { it.outputs }
        return Rating(known.filterKeys { it in names }, skipped)
    }

    /** What a stage's outputs are where it need not run, null where it must. What is not a number is not zero. */
    private fun outputsWithout(stage: Stage, known: Map<String, ByteBuffer>): Map<String, ByteBuffer>? {
        val skip = stage.skipWhen ?: return null
        if (values(skip.zero, known).any { it != 0.0 }) return null
        return skip.outputs.mapValues { (name, value) ->
            val tensor = bundle.tensor(name)
            when (value) {
                is Known.Number -> tensor.of(DoubleArray(tensor.shape.fold(1, Int::times)) { value.value })
                is Known.Copy -> tensor.of(values(value.tensor, known))
            }
        }
    }

    private fun values(name: String, known: Map<String, ByteBuffer>) = bundle.tensor(name).numbers(known.getValue(name))

    private fun detect(detector: Stage, picture: Photograph): DoubleArray {
        val found = loaded.getValue(detector.name).run(mapOf(detector.inputs.single() to direct(picture)))
        val candidates = bundle.tensor(detector.outputs.single())
        val buffer = found.getValue(candidates.name)
        candidates.check(buffer)
        return candidates.numbers(buffer)
    }

    private fun direct(picture: Photograph): ByteBuffer {
        val buffer = room(picture.pixels.size)
        buffer.put(picture.pixels).rewind()
        return buffer
    }

    private fun open(variant: Variant, unit: ComputeUnit, threads: Int): Map<String, Graph> {
        val front = bundle.front?.models ?: emptyList()
        val opened = mutableMapOf<String, Graph>()
        try {
            for (stage in front + alone + bundle.served) {
                val file = bundle.file(variant.files.getValue(stage.name))
                opened[stage.name] = Graph(stage, file, if (stage in front) ComputeUnit.CPU else unit, threads)
            }
        } catch (error: IllegalArgumentException) {
            opened.values.forEach { it.close() }
            throw error
        }
        return opened
    }
}
