/// The keys of each object in a manifest, as its schema has them; `*` stands for each part of an array, and for each
/// name that is free. The rule of a front is under its kind.
private let keys = [
    "":
        "format name tensors front stages whole gates views refusals platforms variants choice "
        + "left_out agreement goldens record files provenance",
    "/tensors/*": "name shape dtype full_scale meaning layout range",
    "/front": "kind outputs rule models colour",
    "/front/colour": "space intent without_profile gamma sixteen_bits",
    "/front/models/*": "name inputs outputs skip_when",
    "/front/models/*/skip_when": "zero outputs",
    "/stages/*": "name inputs outputs skip_when",
    "/stages/*/skip_when": "zero outputs",
    "/whole": "name inputs outputs skip_when",
    "/whole/skip_when": "zero outputs",
    "/gates/*": "tensor metric limits over",
    "/views/*": "tensor kind",
    "/refusals": "region_centre region_radii region_exponent limits",
    "/refusals/limits/*": "measure worse note refuse",
    "/platforms/*": "layout pixels minimum",
    "/variants/*": "name platform precision files minimum measured products_int8 runtime early_exit",
    "/variants/*/measured": "bytes points",
    "/variants/*/early_exit": "inputs left",
    "/choice": "tflite coreml",
    "/left_out/*": "name tolerance measured",
    "/left_out/*/measured": "bytes points",
    "/goldens/*": "name source front values vectors",
    "/goldens/*/front": "alignment",
    "/files/*": "bytes sha256",
    "/provenance": "mien commit versions checkpoint calibration",
    "/provenance/calibration": "inputs sha256 images ranges",
    "face-alignment":
        "size template keypoints score overlap second_look smallest sure detector_size coordinates "
        + "resampling snap",
    "resize": "size filter antialias colour mean std",
].mapValues { Set($0.split(separator: " ").map(String.init)) }

/// Throws for a key that the schema does not know: what it says may change what the others mean.
///
/// `place` is where the value stands in the manifest, or the kind of the front whose rule it is.
func refuseUnknownKeys(_ value: Any?, _ place: String = "") throws {
    for part in value as? [Any] ?? [] { try refuseUnknownKeys(part, "\(place)/*") }
    let known = keys[place]
    for (key, part) in value as? [String: Any] ?? [:] {
        guard known?.contains(key) ?? true else {
            throw PipelineError("the manifest has the unknown key \(place)/\(key); export again, or make this anew")
        }
        try refuseUnknownKeys(part, known == nil ? "\(place)/*" : "\(place)/\(key)")
    }
}
