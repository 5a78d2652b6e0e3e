import CoreGraphics
import Foundation

/// Pixels of 8-bit sRGB, row by row: [height, width, 3]. A photograph must be upright.
public struct Photograph {
    public let width: Int
    public let height: Int
    public let pixels: [UInt8]

    public init(width: Int, height: Int, pixels: [UInt8]) throws {
        guard width > 0, height > 0, pixels.count == 3 * width * height else {
            throw PipelineError("\(pixels.count) bytes are not \(width) x \(height) pixels of RGB")
        }
        self.init(width, height, pixels)
    }

    /// Take the pixels of an image, its colours converted to sRGB. Turn it upright by its EXIF orientation before.
    public init(_ image: CGImage) throws {
        guard [.none, .noneSkipFirst, .noneSkipLast].contains(image.alphaInfo) else {
            throw PipelineError("the image may be transparent; draw it over white before")
        }
        let width = image.width, height = image.height
        var bytes = [UInt8](repeating: 0, count: 4 * width * height)
        let drawn = bytes.withUnsafeMutableBytes { memory -> Bool in
            guard let space = CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8,
                    bytesPerRow: 4 * width, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return true
        }
        guard drawn else { throw PipelineError("no memory for \(width) x \(height) pixels") }
        var pixels = [UInt8]()
        pixels.reserveCapacity(3 * width * height)
        for place in 0..<width * height {
            for channel in 0..<3 { pixels.append(bytes[4 * place + channel]) }
        }
        self.init(width, height, pixels)
    }

    private init(_ width: Int, _ height: Int, _ pixels: [UInt8]) {
        (self.width, self.height, self.pixels) = (width, height, pixels)
    }

    /// The picture turned counter-clockwise by a quarter.
    func turned() -> Photograph {
        var made = [UInt8](repeating: 0, count: pixels.count)
        for row in 0..<width {
            for column in 0..<height {
                let place = 3 * (row * height + column), source = 3 * (column * width + width - 1 - row)
                for channel in 0..<3 { made[place + channel] = pixels[source + channel] }
            }
        }
        return Photograph(height, width, made)
    }

    /// The side in pixels of the box filter that comes before sampling through `matrix`.
    func reduction(_ matrix: Affine) -> Int {
        let zoom = 1 / abs(matrix.determinant).squareRoot() + bit
        return Int(max(1, min(zoom, Double(min(width, height)))))
    }

    /// Cut size x size pixels through `matrix`, which takes pixels of the photograph to the cut's: reduced by a box
    /// filter of whole size, sampled bilinearly with the border repeated, rounded half up.
    func cut(_ matrix: Affine, _ size: Int) -> Photograph {
        let boxes = Boxes(self, matrix.inverse, reduction(matrix)), far = Double(size - 1)
        // The map is affine, so that nothing lies outside of what the corners span.
        let corners = [(0, 0), (0, far), (far, 0), (far, far)].map { boxes.place($0.0, $0.1) }
        let xs = corners.map { Int($0.x) }, ys = corners.map { Int($0.y) }
        let lowX = xs.min()!, lowY = ys.min()!
        let highX = min(xs.max()! + 1, boxes.lastX), highY = min(ys.max()! + 1, boxes.lastY)
        let columns = highX - lowX + 1
        let reduced = self.reduced(lowX...highX, lowY...highY, boxes.side)
        var made = [UInt8](repeating: 0, count: 3 * size * size)
        for v in 0..<size {
            for u in 0..<size {
                let (x, y) = boxes.place(Double(u), Double(v))
                let left = Int(x), upper = Int(y)
                let right = min(left + 1, boxes.lastX), lower = min(upper + 1, boxes.lastY)
                let top = columns * (upper - lowY), bottom = columns * (lower - lowY)
                for channel in 0..<3 {
                    func value(_ row: Int, _ column: Int) -> Double { reduced[3 * (row + column - lowX) + channel] }
                    let above = mix(value(top, left), value(top, right), x - Double(left))
                    let below = mix(value(bottom, left), value(bottom, right), x - Double(left))
                    made[3 * (v * size + u) + channel] = UInt8(mix(above, below, y - Double(upper)) + half)
                }
            }
        }
        return Photograph(size, size, made)
    }

    /// Average boxes of `side` x `side` pixels, those of some columns and rows: [rows, columns, 3].
    private func reduced(_ columns: ClosedRange<Int>, _ rows: ClosedRange<Int>, _ side: Int) -> [Double] {
        var sums = [Double](repeating: 0, count: 3 * columns.count * rows.count)
        for y in rows.lowerBound * side..<(rows.upperBound + 1) * side {
            let line = columns.count * (y / side - rows.lowerBound)
            for x in columns.lowerBound * side..<(columns.upperBound + 1) * side {
                let place = 3 * (line + x / side - columns.lowerBound), source = 3 * (y * width + x)
                for channel in 0..<3 { sums[place + channel] += Double(pixels[source + channel]) }
            }
        }
        return sums.map { $0 / Double(side * side) }
    }
}

/// Takes (x, y) to (a x + b y + c, d x + e y + f); the first pixel's centre is at (0, 0).
struct Affine {
    let a, b, c, d, e, f: Double

    var determinant: Double { a * e - b * d }

    var inverse: Affine {
        let det = determinant
        return Affine(
            a: e / det, b: -b / det, c: (b * f - c * e) / det, d: -d / det, e: a / det, f: (c * d - a * f) / det)
    }

    func of(_ x: Double, _ y: Double) -> (x: Double, y: Double) { (a * x + b * y + c, d * x + e * y + f) }
}

/// Two ways of counting an exact half differ in a last bit and must not round apart.
let bit = 1e-6
private let half = 0.5 + bit

private func mix(_ a: Double, _ b: Double, _ share: Double) -> Double { a + (b - a) * share }

/// Where samples lie, among boxes of so many pixels a side: clipped to those that are there.
private struct Boxes {
    let side, lastX, lastY: Int
    private let back: Affine

    init(_ photograph: Photograph, _ back: Affine, _ side: Int) {
        (self.back, self.side) = (back, side)
        (lastX, lastY) = (photograph.width / side - 1, photograph.height / side - 1)
    }

    func place(_ u: Double, _ v: Double) -> (x: Double, y: Double) {
        let at = back.of(u, v)
        return (clip(at.x, lastX), clip(at.y, lastY))
    }

    private func clip(_ place: Double, _ last: Int) -> Double {
        min(max((place + 0.5) / Double(side) - 0.5, 0), Double(last))
    }
}
