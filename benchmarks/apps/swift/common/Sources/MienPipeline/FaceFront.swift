import Foundation

/// How a face is found and framed: the rule of a front of the kind `face-alignment`.
public struct AlignmentRule: Decodable {
    let size: Int
    let detector_size: Int
    let score: Double
    let overlap: Double
    let second_look: Double
    let smallest: Double
    let sure: Double?
    /// Where right eye, left eye, nose tip and mouth go: (x, y) each.
    let template: [[Double]]
}

/// A face that was found: how many the first detection saw, and the score of the second, 0 where it saw none.
public struct AlignedFace {
    public let pixels: Photograph
    public let faces: Int
    public let score: Double
    let matrix: Affine
    let keypoints: [[Double]]
}

/// A square of a photograph, by its centre and side; whole numbers are edges of pixels.
struct Square {
    let left, top, side: Double

    init(_ x: Double, _ y: Double, _ side: Double) {
        (left, top, self.side) = (x - side / 2, y - side / 2, side)
    }

    /// Takes pixels of the photograph to those of a picture of size x size.
    func matrix(_ size: Int) -> Affine {
        let zoom = Double(size) / side
        return Affine(a: zoom, b: 0, c: (0.5 - left) * zoom - 0.5, d: 0, e: zoom, f: (0.5 - top) * zoom - 0.5)
    }
}

/// A candidate of the detector: score, box (centre x, y, width, height), six keypoints (x, y).
struct Candidate {
    static let numbers = 17
    private static let snap = 0.125
    private static let width = 3
    let values: [Double]

    var score: Double { values[0] }
    var area: Double { values[3] * values[4] }
    var side: Double { max(values[3], values[4]) }
    var keypoints: [[Double]] { stride(from: 5, to: values.count, by: 2).map { [values[$0], values[$0 + 1]] } }

    /// Take shares of a square that was turned counter-clockwise by a quarter back to the square.
    func turnedBack() -> Candidate {
        var turned = values
        for place in stride(from: 1, to: values.count, by: 2) {
            turned[place] = place == Self.width ? values[place + 1] : 1 - values[place + 1]
            turned[place + 1] = values[place]
        }
        return Candidate(values: turned)
    }

    /// Take shares of a square to pixels of the photograph.
    func inPhotograph(_ square: Square) -> Candidate {
        var places = values
        for place in 1..<values.count { places[place] *= square.side }
        for place in stride(from: 1, to: values.count, by: 2) where place != Self.width {
            places[place] += square.left - 0.5
            places[place + 1] += square.top - 0.5
        }
        return Candidate(values: places)
    }

    /// Round places half up to eighths of a pixel: last bits of a detector shall not move a face.
    func snapped() -> Candidate {
        Candidate(values: [score] + values.dropFirst().map { ($0 / Self.snap + 0.5).rounded(.down) * Self.snap })
    }

    /// Intersection over union of the boxes.
    func overlap(_ other: Candidate) -> Double {
        var shared = 1.0
        for axis in 1...2 {
            let low = max(values[axis] - values[axis + 2] / 2, other.values[axis] - other.values[axis + 2] / 2)
            let high = min(values[axis] + values[axis + 2] / 2, other.values[axis] + other.values[axis + 2] / 2)
            shared *= max(high - low, 0)
        }
        return shared / (area + other.area - shared)
    }

    /// Blend candidates that overlap by more than `limit`, the best first, each weighing by its score.
    static func merge(_ candidates: [Candidate], _ limit: Double) -> [Candidate] {
        var faces = [Candidate](), left = candidates
        while let best = greatest(Array(left.indices), { left[$0].score }) {
            let face = left[best]
            let same = left.indices.filter { $0 == best || face.overlap(left[$0]) > limit }
            let weight = same.reduce(0) { $0 + left[$1].score }
            faces.append(
                Candidate(
                    values: (0..<numbers).map { place in
                        same.reduce(0) { $0 + left[$1].score * left[$1].values[place] } / weight
                    }))
            left = left.indices.filter { !same.contains($0) }.map { left[$0] }
        }
        return faces
    }
}

/// The first of the greatest, by a number.
func greatest<Element>(_ elements: [Element], _ number: (Element) -> Double) -> Element? {
    var found = elements.first
    for element in elements.dropFirst() where number(element) > number(found!) { found = element }
    return found
}

/// The turn, scale and shift that takes points (x, y) to a template best, by least squares.
func similarity(_ points: [[Double]], _ template: [[Double]]) -> Affine {
    let count = Double(template.count)
    func mean(_ of: [[Double]], _ axis: Int) -> Double {
        zip(of, template).reduce(0) { $0 + $1.0[axis] } / count
    }
    let (meanX, meanY, goalX, goalY) = (mean(points, 0), mean(points, 1), mean(template, 0), mean(template, 1))
    var along = 0.0, across = 0.0, size = 0.0
    for (point, goal) in zip(points, template) {
        let x = point[0] - meanX, y = point[1] - meanY, u = goal[0] - goalX, v = goal[1] - goalY
        along += x * u + y * v
        across += x * v - y * u
        size += x * x + y * y
    }
    let a = along / size, b = across / size
    return Affine(a: a, b: -b, c: goalX - a * meanX + b * meanY, d: b, e: a, f: goalY - b * meanX - a * meanY)
}

/// Finds the largest face of a photograph and frames it.
///
/// `detect` maps a picture of detector_size pixels a side to candidates, 17 numbers each, in shares of the picture.
struct FaceFront {
    let rule: AlignmentRule
    let detect: (Photograph) throws -> [Double]

    /// A transform that shrinks areas more than this cannot be turned round.
    private static let singular = 1e-12

    /// What two detections saw of the largest face.
    private struct Sighting {
        let face: Candidate
        let closer: Candidate?
        let faces: Int
        var score: Double { closer?.score ?? 0 }
    }

    /// Find and frame the largest face; throws where there is none, or it is smaller than the rule allows.
    ///
    /// The detector runs twice, and on the turned photograph where it is not sure.
    func align(_ photograph: Photograph) throws -> AlignedFace {
        var best = try sight(photograph, 0)
        if let sure = rule.sure, sure > 0, (best?.score ?? -1) < sure {
            let turned = try [2, 1, 3].compactMap { try sight(photograph, $0) }
            best = greatest((best.map { [$0] } ?? []) + turned) { $0.score }
        }
        guard let found = best else {
            throw PipelineError("no face found; give a photograph with one upright, frontal face")
        }
        guard found.face.side >= rule.smallest else {
            throw PipelineError("the largest face is \(found.face.side) pixels wide, \(rule.smallest) are needed")
        }
        let keypoints = (found.closer ?? found.face).keypoints
        let matrix = similarity(keypoints, rule.template)
        guard matrix.determinant > Self.singular else {
            throw PipelineError("the features of the face fall together; give a larger, frontal face")
        }
        return AlignedFace(
            pixels: photograph.cut(matrix, rule.size), faces: found.faces, score: found.score, matrix: matrix,
            keypoints: keypoints)
    }

    private func sight(_ photograph: Photograph, _ turn: Int) throws -> Sighting? {
        let width = Double(photograph.width), height = Double(photograph.height)
        let found = try detections(photograph, Square(width / 2, height / 2, max(width, height)), turn)
        guard let face = greatest(found, { $0.area }) else { return nil }
        let about = Square(face.values[1] + 0.5, face.values[2] + 0.5, rule.second_look * face.side)
        let closer = greatest(try detections(photograph, about, turn)) { $0.area }
        return Sighting(face: face, closer: closer, faces: found.count)
    }

    /// Detect faces in a square that is turned counter-clockwise by quarters; in pixels of the photograph.
    private func detections(_ photograph: Photograph, _ square: Square, _ turn: Int) throws -> [Candidate] {
        var picture = photograph.cut(square.matrix(rule.detector_size), rule.detector_size)
        for _ in 0..<turn { picture = picture.turned() }
        let numbers = try detect(picture)
        var likely = [Candidate]()
        for start in stride(from: 0, to: numbers.count, by: Candidate.numbers) where numbers[start] >= rule.score {
            var candidate = Candidate(values: Array(numbers[start..<start + Candidate.numbers]))
            for _ in 0..<turn { candidate = candidate.turnedBack() }
            likely.append(candidate.inPhotograph(square))
        }
        return Candidate.merge(likely, rule.overlap).map { $0.snapped() }
    }
}
