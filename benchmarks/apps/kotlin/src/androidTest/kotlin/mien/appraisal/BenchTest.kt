package mien.appraisal

import android.os.Build
import android.os.SystemClock
import android.util.Log
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.io.File
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/**
 * Measures every variant on every unit of this phone, and checks the ratings of the golden inputs.
 *
 * Each measurement is one line of the log with the tag MIEN, a JSON object. Times are in milliseconds, from the
 * input's bytes to rating and map.
 */
@RunWith(AndroidJUnit4::class)
class BenchTest {
    private val spec = Spec(InstrumentationRegistry.getInstrumentation().context.assets)

    @Test
    fun everyVariantOnEveryUnit() {
        val wrong = mutableListOf<String>()
        for (variant in spec.variants) {
            for (unit in ComputeUnit.values()) wrong += measure(variant, unit)
        }
        assertTrue(wrong.joinToString("; "), wrong.isEmpty())
    }

    /** Measure, report, and say which ratings are off by more than the gate. */
    private fun measure(variant: Variant, unit: ComputeUnit): List<String> {
        val record = about(variant, unit)
        if (!unit.isAvailable()) return report(record.put("refused", "not known to work on this phone"))
        val model = spec.direct(variant.model)
        val start = SystemClock.elapsedRealtimeNanos()
        val appraiser =
            try {
                Appraiser(model, spec.tensors, unit)
            } catch (error: IllegalArgumentException) {
                // A GPU may refuse a graph; a processor must not.
                if (unit == ComputeUnit.CPU) throw error
                return report(record.put("refused", error.toString()))
            }
        record.put("load_ms", since(start))
        return appraiser.use {
            time(it, record)
            record.put("peak_memory_bytes", peakMemory())
            compare(it, variant, record).also { report(record) }
        }
    }

    private fun time(appraiser: Appraiser, record: JSONObject) {
        val input = spec.bytes(spec.goldens.first().input)
        val times = List(1 + spec.warmup + spec.runs) {
            val start = SystemClock.elapsedRealtimeNanos()
            appraiser.rate(input)
            since(start)
        }
        record.put("first_ms", times.first()).put("runs_ms", JSONArray(times.drop(1 + spec.warmup)))
    }

    /** Compare with the float pipeline: ratings, which have a gate, and the map's largest difference. */
    private fun compare(appraiser: Appraiser, variant: Variant, record: JSONObject): List<String> {
        val wrong = mutableListOf<String>()
        val scores = JSONArray()
        for (golden in spec.goldens) {
            val found = appraiser.rate(spec.bytes(golden.input))
            val points = abs(found.rating - golden.rating)
            val known = spec.floats(golden.map)
            val worst = known.indices.maxOf { abs(found.map[it] - known[it]) }
            scores.put(
                JSONObject()
                    .put("golden", golden.name)
                    .put("points", number(points))
                    .put("map", number(worst.toDouble()))
            )
            // A rating that is no number is never within the gate.
            if (!(points <= variant.gate)) {
                wrong += "${variant.name} on ${record.get("unit")}, ${golden.name}: off by $points points"
            }
        }
        record.put("scores", scores)
        return wrong
    }

    private fun about(variant: Variant, unit: ComputeUnit) =
        JSONObject()
            .put("id", spec.id)
            .put("variant", variant.name)
            .put("unit", unit.name)
            .put("device", "${Build.MANUFACTURER} ${Build.MODEL}, ${Build.HARDWARE}")
            .put("android", Build.VERSION.SDK_INT)
            .put("abi", Build.SUPPORTED_ABIS.first())
            .put("cores", Runtime.getRuntime().availableProcessors())
            .put("emulator", Build.HARDWARE in EMULATORS)

    private fun report(record: JSONObject): List<String> {
        Log.i("MIEN", record.toString())
        return emptyList()
    }

    /** The most memory that this process has had, for everything that it measured before too. */
    private fun peakMemory(): Long {
        val line = File("/proc/self/status").readLines().first { it.startsWith("VmHWM:") }
        return line.filter { it.isDigit() }.toLong() * 1024
    }

    private fun since(start: Long) = (SystemClock.elapsedRealtimeNanos() - start) / 1e6

    /** JSON has no word for what is no finite number. */
    private fun number(value: Double): Any = if (value.isNaN() || value.isInfinite()) JSONObject.NULL else value

    private companion object {
        /** What Android's emulators, which are no phones, call their hardware. */
        val EMULATORS = listOf("goldfish", "ranchu")
    }
}
