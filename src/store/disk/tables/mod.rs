//! One file for each table: its statements, what is bound to their parameters, and what is read from their columns.

pub(super) mod blocks;
pub(super) mod logs;
pub(super) mod owners;
pub(super) mod service;
