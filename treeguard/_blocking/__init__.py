"""Starting trees and waiting for them without an event loop, from any thread."""
