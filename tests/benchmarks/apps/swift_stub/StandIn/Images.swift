// Stand-ins for the parts of CoreGraphics, ImageIO and CryptoKit that the Swift package uses: files are decoded and
// hashed in another process, by Pillow and Python's hashlib.
import Foundation

public typealias CFURL = NSURL

public enum CGImageAlphaInfo: UInt32 { case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst }

public final class CGImage {
    public let width, height: Int
    public let alphaInfo: CGImageAlphaInfo
    let rgbx: Data

    init(_ width: Int, _ height: Int, _ alphaInfo: CGImageAlphaInfo, _ rgbx: Data) {
        (self.width, self.height, self.alphaInfo, self.rgbx) = (width, height, alphaInfo, rgbx)
    }
}

public final class CGColorSpace {
    public static let sRGB = "sRGB"
    public init?(name: String) {
        guard name == Self.sRGB else { return nil }
    }
}

public final class CGContext {
    private let data: UnsafeMutableRawPointer
    private let bytes: Int

    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) {
        guard let data = data, bitsPerComponent == 8, bytesPerRow == 4 * width,
            bitmapInfo == CGImageAlphaInfo.noneSkipLast.rawValue
        else { return nil }
        (self.data, bytes) = (data, height * bytesPerRow)
    }

    public func draw(_ image: CGImage, in rectangle: CGRect) {
        precondition(image.rgbx.count == bytes && rectangle.origin == .zero, "a stand-in draws whole images alone")
        image.rgbx.copyBytes(to: data.assumingMemoryBound(to: UInt8.self), count: bytes)
    }
}

public final class CGImageSource {
    let file: String
    init(_ file: String) { self.file = file }
}

public func CGImageSourceCreateWithURL(_ url: CFURL, _ options: NSDictionary?) -> CGImageSource? {
    url.path.map { CGImageSource($0) }
}

public func CGImageSourceCreateImageAtIndex(_ source: CGImageSource, _ index: Int, _ options: NSDictionary?) -> CGImage? {
    guard let (answer, parts) = try? ModelServer.shared.ask(["decode": source.file]) else { return nil }
    let size = answer["size"] as! [Int]
    return CGImage(size[0], size[1], .noneSkipLast, parts[0])
}

public enum SHA256 {
    public static func hash(data: Data) -> Data {
        // The package has no other words for a hash that cannot be had.
        try! ModelServer.shared.ask(["sha256": true], [data]).1[0]
    }
}
