import Foundation

/// From which values on a photograph is rated with a note, or not rated: the `refusals` of a manifest.
public struct Refusals: Decodable {
    let region_centre: [Double]
    let region_radii: [Double]
    let region_exponent: Double
    let limits: [Limit]

    struct Limit: Decodable {
        let measure: String
        let worse: String
        let note: Double?
        let refuse: Double?

        /// What is not a number is within no limit.
        func verdict(_ value: Double) -> Finding.Verdict {
            func within(_ bound: Double) -> Bool { worse == "above" ? value <= bound : value >= bound }
            if let bound = refuse, !within(bound) { return .refuse }
            if let bound = note, !within(bound) { return .note }
            return .ok
        }
    }
}

/// A measure of a photograph or of its face, held against the pipeline's limits; see docs/refusals.md.
public struct Finding {
    public let measure: String
    public let value: Double
    public let verdict: Verdict

    public enum Verdict { case ok, note, refuse }
}

/// Tells whether a photograph can be rated; `goal` is where eyes, nose tip and mouth are in the aligned face.
struct Quality {
    let refusals: Refusals
    let goal: [[Double]]
    private static let flat = 1e-6, eyesApart = 76.0
    private static let black: UInt8 = 12, burnt: UInt8 = 250

    func findings(_ face: AlignedFace, _ photograph: Photograph) throws -> [Finding] {
        let values = measures(face, photograph)
        return try refusals.limits.map {
            guard let value = values[$0.measure] else {
                throw PipelineError("the measure \($0.measure) is not known here")
            }
            return Finding(measure: $0.measure, value: value, verdict: $0.verdict(value))
        }
    }

    private func measures(_ face: AlignedFace, _ photograph: Photograph) -> [String: Double] {
        let placed = face.keypoints.map { face.matrix.of($0[0], $0[1]) }
        let apart = zip(placed, goal).map { hypot($0.x - $1[0], $0.y - $1[1]) }
        // Right eye, left eye, nose, mouth, right ear, left ear.
        let nose = placed[2].x, right = placed[4].x, left = placed[5].x
        let found = [
            "detector_score": face.score,
            "faces": Double(face.faces),
            "eye_distance": distance(face.keypoints[0], face.keypoints[1]),
            "roll": abs(atan2(face.matrix.d, face.matrix.a)) * 180 / Double.pi,
            "turn": abs((nose - right) - (left - nose)) / max(left - right, 1),
            "misfit": mean(apart.map { $0 * $0 }).squareRoot() / distance(goal[0], goal[1]),
        ]
        return found.merging(light(face, photograph)) { $1 }.merging(shown(face.pixels)) { $1 }
    }

    /// Light and sharpness of the face region.
    private func light(_ face: AlignedFace, _ photograph: Photograph) -> [String: Double] {
        let pixels = face.pixels, region = region(pixels), back = face.matrix.inverse
        let light = region.map { pixels.light($0.column, $0.row) }
        let inner = 1..<pixels.width - 1
        let edges = region.filter { inner.contains($0.column) && inner.contains($0.row) }
            .map { abs(pixels.edge($0.column, $0.row)) }
        let contrast = deviation(light)
        func share(_ holds: (Pixel) -> Bool) -> Double { Double(region.filter(holds).count) / Double(region.count) }
        func all(_ pixel: Pixel, _ holds: (UInt8) -> Bool) -> Bool {
            let place = 3 * (pixel.row * pixels.width + pixel.column)
            return pixels.pixels[place..<place + 3].allSatisfy(holds)
        }
        return [
            "outside": share { beyond(back.of(Double($0.column), Double($0.row)), photograph) },
            // A face of one colour has no edges, but for last bits.
            "sharpness": contrast > Self.flat ? mean(edges) / contrast : 0,
            "contrast": contrast,
            "brightness": mean(light),
            "black": share { all($0) { $0 <= Self.black } },
            "burnt": share { all($0) { $0 >= Self.burnt } },
        ]
    }

    /// Whether eyes and mouth are seen; lengths are those of a face of 76 pixels between the eyes.
    private func shown(_ pixels: Photograph) -> [String: Double] {
        let unit = distance(goal[0], goal[1]) / Self.eyesApart
        func patch(_ at: [Double], _ right: Double, _ down: Double, _ across: Double, _ tall: Double) -> [Double] {
            self.patch(pixels, at[0] + right * unit, at[1] + down * unit, across * unit, tall * unit)
        }
        let beneath = max(mean(patch(goal[0], 0, 17, 12, 5)), mean(patch(goal[1], 0, 17, 12, 5)))
        let cheeks = mean(patch(goal[0], -6, 50, 8, 8)) + mean(patch(goal[1], 6, 50, 8, 8))
        let skin = (mean(patch(goal[2], 0, -15, 8, 10)) + cheeks) / 3
        let middle = [(goal[0][0] + goal[1][0]) / 2, (goal[0][1] + goal[1][1]) / 2]
        let eyes = deviation(patch(middle, 0, 0, 48, 30))
        let mouth = deviation(patch(goal[3], 0, 3, 40, 14))
        return ["eyes_shown": beneath / max(skin, 1), "mouth_shown": eyes > Self.flat ? mouth / eyes : 0]
    }

    /// Brightness of the pixels about a place, at least of one.
    private func patch(_ pixels: Photograph, _ x: Double, _ y: Double, _ across: Double, _ tall: Double) -> [Double] {
        let last = Double(pixels.width - 1), atX = min(max(x, 0), last), atY = min(max(y, 0), last)
        let columns = (0..<pixels.width).filter { abs(Double($0) - atX) <= max(across, 0.5) + bit }
        let rows = (0..<pixels.width).filter { abs(Double($0) - atY) <= max(tall, 0.5) + bit }
        return rows.flatMap { row in columns.map { pixels.light($0, row) } }
    }

    private typealias Pixel = (column: Int, row: Int)

    /// The pixels of the face region, a superellipse.
    private func region(_ pixels: Photograph) -> [Pixel] {
        let side = 0..<pixels.width
        func far(_ axis: Int) -> [Double] {
            side.map {
                pow(abs(Double($0) - refusals.region_centre[axis]) / refusals.region_radii[axis], refusals.region_exponent)
            }
        }
        let across = far(0), down = far(1)
        return side.flatMap { row in side.filter { across[$0] + down[row] <= 1 }.map { ($0, row) } }
    }

    /// Whether a place lies beyond the border of the photograph.
    private func beyond(_ at: (x: Double, y: Double), _ photograph: Photograph) -> Bool {
        let width = Double(photograph.width), height = Double(photograph.height)
        return at.x < -0.5 || at.y < -0.5 || at.x > width - 0.5 || at.y > height - 0.5
    }

    private func distance(_ one: [Double], _ other: [Double]) -> Double { hypot(one[0] - other[0], one[1] - other[1]) }

    private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    private func deviation(_ values: [Double]) -> Double {
        let middle = mean(values)
        return mean(values.map { ($0 - middle) * ($0 - middle) }).squareRoot()
    }
}

extension Photograph {
    /// Brightness by ITU-R BT.601.
    fileprivate func light(_ column: Int, _ row: Int) -> Double {
        let place = 3 * (row * width + column)
        return Double(pixels[place]) * 0.299 + Double(pixels[place + 1]) * 0.587 + Double(pixels[place + 2]) * 0.114
    }

    fileprivate func edge(_ x: Int, _ y: Int) -> Double {
        4 * light(x, y) - light(x, y - 1) - light(x, y + 1) - light(x - 1, y) - light(x + 1, y)
    }
}
