import SwiftUI
import UIKit

/// The app that tests run in: an iPhone runs no tests without one.
@main
struct HostApp: App {
    var body: some Scene {
        WindowGroup {
            Text("mien is measuring")
                .onAppear { UIApplication.shared.isIdleTimerDisabled = true }
        }
    }
}
