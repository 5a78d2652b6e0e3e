// A stand-in for the part of CoreVideo that the Swift package uses, so that it compiles and runs
// where there is no CoreVideo. It is no evidence of what Apple's does.
import Foundation

public typealias CFDictionary = NSDictionary
public typealias CVReturn = Int32
public typealias OSType = UInt32

public let kCVPixelBufferIOSurfacePropertiesKey: NSString = "IOSurfaceProperties"
public let kCVPixelFormatType_OneComponent8: OSType = 0x4C30_3038
public let kCVPixelFormatType_32BGRA: OSType = 0x4247_5241
public let kCVReturnSuccess: CVReturn = 0
public let kCFAllocatorDefault: Int? = nil

public struct CVPixelBufferLockFlags: OptionSet, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public final class CVPixelBuffer {
    public let width, height, bytesPerPixel, stride: Int
    public let base: UnsafeMutableRawPointer

    init(_ width: Int, _ height: Int, _ bytesPerPixel: Int) {
        (self.width, self.height, self.bytesPerPixel) = (width, height, bytesPerPixel)
        // Rows are padded, as Apple's are.
        stride = width * bytesPerPixel + 64
        base = .allocate(byteCount: stride * height, alignment: 64)
    }

    deinit { base.deallocate() }
}

public func CVPixelBufferCreate(
    _ allocator: Int?, _ width: Int, _ height: Int, _ format: OSType, _ attributes: CFDictionary?,
    _ made: UnsafeMutablePointer<CVPixelBuffer?>
) -> CVReturn {
    let sizes = [kCVPixelFormatType_32BGRA: 4, kCVPixelFormatType_OneComponent8: 1]
    guard let size = sizes[format] else { return -6680 }
    made.pointee = CVPixelBuffer(width, height, size)
    return kCVReturnSuccess
}

@discardableResult
public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { 0 }
@discardableResult
public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { 0 }
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? { buffer.base }
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { buffer.stride }
