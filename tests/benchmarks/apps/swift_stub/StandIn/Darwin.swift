// Stand-ins for what Darwin and its Foundation have and Linux has not.
import Foundation
import Glibc

public func sysctlbyname(
    _ name: String, _ value: UnsafeMutableRawPointer?, _ size: UnsafeMutablePointer<Int>, _ new: Int?, _ length: Int
) {
    let text = "stand-in".utf8CString
    value?.copyMemory(from: Array(text), byteCount: text.count)
    size.pointee = text.count
}

extension ProcessInfo {
    public enum ThermalState: Hashable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { .nominal }
    public var isLowPowerModeEnabled: Bool { false }
}

@discardableResult
public func getrusage(_ who: __rusage_who, _ usage: UnsafeMutablePointer<rusage>) -> Int32 {
    Glibc.getrusage(__rusage_who_t(who.rawValue), usage)
}
