import Foundation

/// The rule of a front of the kind `resize`: a tensor [1, C, height, width] of float32, resized and normalised.
public struct ResizeRule: Decodable {
    let size: [Int]
    let mean: [Float]
    let std: [Float]
    private static let bits = 22

    /// Make the values of the tensor, channels second.
    func values(_ photograph: Photograph) -> [Float] {
        let channels = mean.count, height = size[0], width = size[1]
        let pixels = channels == 1 ? luma(photograph) : photograph.pixels.map { Int($0) }
        let across = resized(pixels, photograph.height, photograph.width, width, channels)
        // Columns are rows of the picture whose pixels are whole lines.
        let made = resized(across, 1, photograph.height, height, width * channels)
        return (0..<made.count).map {
            let channel = $0 / (height * width)
            return (Float(made[$0 % (height * width) * channels + channel]) / 255 - mean[channel]) / std[channel]
        }
    }

    /// Luma by ITU-R BT.601.
    private func luma(_ photograph: Photograph) -> [Int] {
        let colours = photograph.pixels
        return (0..<photograph.width * photograph.height).map {
            let red = Int(colours[3 * $0]), green = Int(colours[3 * $0 + 1]), blue = Int(colours[3 * $0 + 2])
            return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
        }
    }

    /// Resize the second axis of [rows, length, numbers] to `goal` by a triangle filter that widens where it reduces.
    ///
    /// Weights are whole numbers of 2^-22, as in Pillow, and results are rounded to 8 bits.
    private func resized(_ values: [Int], _ rows: Int, _ length: Int, _ goal: Int, _ numbers: Int) -> [Int] {
        var made = [Int](repeating: 0, count: rows * goal * numbers)
        for place in 0..<goal {
            let (first, weights) = weights(place, length, goal)
            for row in 0..<rows {
                for number in 0..<numbers {
                    var sum = 1 << (Self.bits - 1)
                    for (k, weight) in weights.enumerated() {
                        sum += weight * values[(row * length + first + k) * numbers + number]
                    }
                    made[(row * goal + place) * numbers + number] = min(max(sum >> Self.bits, 0), 255)
                }
            }
        }
        return made
    }

    /// The first number that counts for a place, and the weights of those from there on.
    private func weights(_ place: Int, _ length: Int, _ goal: Int) -> (Int, [Int]) {
        let scale = Double(length) / Double(goal), reach = max(scale, 1)
        let centre = (Double(place) + 0.5) * scale
        let first = max(Int(centre - reach + 0.5), 0), last = min(Int(centre + reach + 0.5), length)
        // Its types are spelt out: the compiler took a quarter of a minute to find them.
        let shares = (first..<last).map { (number: Int) -> Double in
            let far: Double = abs(Double(number) - centre + 0.5) * (1 / reach)
            return max(1 - far, 0)
        }
        let total = shares.reduce(0, +)
        return (first, shares.map { Int(0.5 + $0 / total * Double(1 << Self.bits)) })
    }
}
