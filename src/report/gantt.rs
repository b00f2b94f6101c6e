//! Gantt
