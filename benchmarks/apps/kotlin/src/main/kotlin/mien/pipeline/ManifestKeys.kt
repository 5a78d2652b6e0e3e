package mien.pipeline

import org.json.JSONArray
import org.json.JSONObject

/**
 * The keys of each object in a manifest, as its schema has them; `*` stands for each part of an array, and for each
 * name that is free. The rule of a front is under its kind.
 */
private val KEYS =
    mapOf(
        "" to
            "format name tensors front stages whole gates views refusals platforms variants choice " +
                "left_out agreement goldens record files provenance",
        "/tensors/*" to "name shape dtype full_scale meaning layout range",
        "/front" to "kind outputs rule models colour",
        "/front/colour" to "space intent without_profile gamma sixteen_bits",
        "/front/models/*" to "name inputs outputs skip_when",
        "/front/models/*/skip_when" to "zero outputs",
        "/stages/*" to "name inputs outputs skip_when",
        "/stages/*/skip_when" to "zero outputs",
        "/whole" to "name inputs outputs skip_when",
        "/whole/skip_when" to "zero outputs",
        "/gates/*" to "tensor metric limits over",
        "/views/*" to "tensor kind",
        "/refusals" to "region_centre region_radii region_exponent limits",
        "/refusals/limits/*" to "measure worse note refuse",
        "/platforms/*" to "layout pixels minimum",
        "/variants/*" to "name platform precision files minimum measured products_int8 runtime early_exit",
        "/variants/*/measured" to "bytes points",
        "/variants/*/early_exit" to "inputs left",
        "/choice" to "tflite coreml",
        "/left_out/*" to "name tolerance measured",
        "/left_out/*/measured" to "bytes points",
        "/goldens/*" to "name source front values vectors",
        "/goldens/*/front" to "alignment",
        "/files/*" to "bytes sha256",
        "/provenance" to "mien commit versions checkpoint calibration",
        "/provenance/calibration" to "inputs sha256 images ranges",
        "face-alignment" to
            "size template keypoints score overlap second_look smallest sure detector_size coordinates " +
                "resampling snap",
        "resize" to "size filter antialias colour mean std",
    ).mapValues { (_, keys) -> keys.split(" ").toSet() }

/**
 * Refuse keys that the schema does not know: what they say may change what the others mean.
 *
 * @param place where the value stands in the manifest, or the kind of the front whose rule it is
 * @throws BundleException with the first such key
 */
internal fun refuseUnknownKeys(value: Any?, place: String = "") {
    when (value) {
        is JSONArray -> List(value.length()) { value.get(it) }.forEach { refuseUnknownKeys(it, "$place/*") }
        is JSONObject -> {
            val known = KEYS[place]
            for (key in value.keys().asSequence().map { it.toString() }) {
                if (known != null && key !in known) {
                    throw BundleException("the manifest has the unknown key $place/$key; export again, or generate this anew")
                }
                refuseUnknownKeys(value.get(key), if (known == null) "$place/*" else "$place/$key")
            }
        }
    }
}
